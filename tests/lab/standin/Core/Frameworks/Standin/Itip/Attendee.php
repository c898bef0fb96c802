<?php
/** Somebody who is invited. */
declare(strict_types=1);

namespace Standin\Itip;

final class Attendee
{
    public readonly string $address;
    public readonly ?string $name;
    /** Whether the client wants a message sent whatever has changed. */
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
