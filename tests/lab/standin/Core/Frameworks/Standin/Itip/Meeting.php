<?php
/** Organizer, attendees and instances of one version of an event. */
declare(strict_types=1);

namespace Standin\Itip;

final class Meeting
{
    /** A change of one of these is significant for attendees who were invited before. */
    private const SIGNIFICANT = ['DTSTART', 'DTEND', 'DURATION', 'DUE', 'RRULE', 'RDATE', 'EXDATE', 'STATUS'];

    public ?string $organizer = null;
    /** Null without a CN; an empty CN is an empty string. */
    public ?string $organizerName = null;
    public bool $organizerAnswersItself = false;
    public ?string $sequence = null;
    public string $status = '';
    /** @var array<string, Component> by RECURRENCE-ID, or `master` */
    public array $instances = [];
    /** @var array<string, Attendee> by address */
    public array $attendees = [];
    /** @var list<string> of EXDATE, over all instances */
    public array $dates = [];
    /** The significant properties. */
    public string $fingerprint = '';

    public static function in(?Component $calendar): self
    {
        $meeting = new self();
        $fingerprints = [];
        foreach ($calendar?->within('VEVENT') ?? [] as $event) {
            $instance = $event->first('RECURRENCE-ID')->value ?? 'master';
            $meeting->instances[$instance] = $event;
            $organizer = $event->first('ORGANIZER');
            if ($organizer !== null) {
                $meeting->organizer ??= $organizer->address();
                $meeting->organizerName ??= $organizer->has('CN') ? $organizer->get('CN') : null;
                $meeting->organizerAnswersItself = strtoupper($organizer->get('SCHEDULE-AGENT')) === 'CLIENT';
            }
            $meeting->sequence ??= $event->first('SEQUENCE')?->value;
            $meeting->status = strtoupper($event->first('STATUS')->value ?? $meeting->status);
            foreach ($event->all('ATTENDEE') as $property) {
                if (strtoupper($property->get('SCHEDULE-AGENT')) !== 'CLIENT') {
                    $attendee = $meeting->attendees[$property->address()] ??= new Attendee($property);
                    $attendee->answers[$instance] = strtoupper($property->get('PARTSTAT')) ?: 'NEEDS-ACTION';
                }
            }
            $fingerprints[] = self::fingerprint($event, $meeting->dates);
        }
        sort($fingerprints);
        $meeting->fingerprint = implode('', $fingerprints);

        return $meeting;
    }

    /** @param list<string> $dates of EXDATE so far, over all instances */
    private static function fingerprint(Component $event, array &$dates): string
    {
        $text = '';
        foreach (self::SIGNIFICANT as $name) {
            $values = array_map(static fn (Property $each): string => $each->value, $event->all($name));
            if ($values === []) {
                continue;
            }
            $parts = match ($name) {
                'RRULE' => array_diff(explode(';', strtoupper(implode(';', $values))), ['INTERVAL=1']),
                'EXDATE' => $dates = [...$dates, ...explode(',', implode(',', $values))],
                default => $values,
            };
            if ($name === 'RRULE' || $name === 'EXDATE') {
                sort($parts);
            }
            $text .= "$name:" . implode(';', $parts) . ';';
        }

        return $text;
    }
}
