<?php
/** An attendee of an event. */
declare(strict_types=1);

namespace Standin\Itip;

final class Attendee
{
    public readonly string $address;
    public readonly ?string $name;
    /** Whether the client asks for a message after any change. */
    public readonly bool $insists;
    /** @var array<string, string> PARTSTAT by instance */
    public array $answers = [];

    public function __construct(Property $property)
    {
        $this->address = $property->address();
        $this->name = $property->has('CN') ? $property->get('CN') : null;
        $this->insists = strtoupper($property->get('SCHEDULE-FORCE-SEND')) === 'REQUEST';
    }
}
