<?php
/**
 * Computes the messages for a changed event (RFC 5546, as sabre/vobject implements it).
 *
 * The contract: an organizer sends every other attendee a REQUEST with the
 * instances that this attendee is invited to. If there are none or the event is
 * cancelled, it is a CANCEL. Each message says whether the change is
 * significant. An attendee sends the organizer a REPLY, and declines by deleting
 * the event or an instance. Addresses are compared with the owner's exactly.
 */
declare(strict_types=1);

namespace Standin\Itip;

final class Broker
{
    /**
     * @param list<string> $owner addresses of the user who changes the event
     *
     * @return list<Message>
     */
    public static function messages(?Component $before, ?Component $after, array $owner): array
    {
        $old = Meeting::in($before);
        $new = $after === null ? clone $old : Meeting::in($after);
        if (($before !== null && $old->instances === []) || $new->instances === []) {
            return []; // Only events cause messages.
        }
        if ($new->organizer === null) {
            [$new->organizer, $new->organizerName] = [$old->organizer, $old->organizerName];
        }
        if (in_array($new->organizer, $owner, true)) {
            if ($after === null) {
                $new->attendees = [];
                $new->sequence = (string) (1 + (int) $new->sequence);
            }

            return self::fromOrganizer($after ?? $before, $old, $new);
        }
        foreach ($new->attendees as $address => $attendee) {
            if (in_array($address, $owner, true) && $new->organizer !== null) {
                return self::fromAttendee($after ?? $before, $old, $new, $attendee, $after === null);
            }
        }

        return [];
    }

    /** @return list<Message> */
    private static function fromOrganizer(Component $calendar, Meeting $old, Meeting $new): array
    {
        $messages = [];
        // In the order of their first invitation, with their present data.
        foreach (array_replace($old->attendees, $new->attendees) as $address => $attendee) {
            if ($address !== $new->organizer) {
                $messages[] = isset($new->attendees[$address]) && $new->status !== 'CANCELLED'
                    ? self::request($calendar, $old, $new, $attendee)
                    : self::cancel($calendar, $new, $attendee);
            }
        }

        return $messages;
    }

    private static function cancel(Component $calendar, Meeting $meeting, Attendee $attendee): Message
    {
        [$organizer, $name] = [$meeting->organizer, $meeting->organizerName];
        $message = new Message('CANCEL', $organizer, $name, $attendee->address, $attendee->name);
        $master = $calendar->within('VEVENT')[0];
        $event = self::event($message, $calendar, $meeting);
        $event->take($master, 'SUMMARY', 'DTSTART', $master->first('DTEND') === null ? 'DURATION' : 'DTEND');
        $event->add('ORGANIZER', $organizer, $name === null ? [] : ['CN' => $name]);
        $event->add('ATTENDEE', $attendee->address, ['CN' => $attendee->name]);

        return $message;
    }

    private static function request(Component $calendar, Meeting $old, Meeting $new, Attendee $attendee): Message
    {
        $known = array_keys($old->attendees[$attendee->address]->answers ?? []);
        $invited = array_keys($attendee->answers);
        $significant = $attendee->insists || count($known) !== count($invited) || array_diff($known, $invited) !== []
            || $old->fingerprint !== $new->fingerprint;
        $parties = [$new->organizer, $new->organizerName, $attendee->address, $attendee->name];
        $message = new Message('REQUEST', ...[...$parties, $significant]);
        $message->calendar->components = $calendar->within('VTIMEZONE');
        foreach ($invited as $instance) {
            $event = clone $new->instances[$instance];
            if ($instance === 'master') {
                self::prepare($event, array_diff(array_keys($new->instances), $invited));
            }
            $event->replace('DTSTAMP', gmdate('Ymd\THis\Z'));
            $message->calendar->components[] = $event;
        }

        return $message;
    }

    /** @param array<string> $elsewhere the instances that the recipient isn't invited to */
    private static function prepare(Component $event, array $elsewhere): void
    {
        if ($elsewhere !== []) {
            $dates = $event->first('EXDATE');
            $zone = $event->first('DTSTART')->get('TZID');
            $joined = implode(',', [...($dates === null ? [] : [$dates->value]), ...$elsewhere]);
            $dates === null ? $event->add('EXDATE', $joined, $zone === '' ? [] : ['TZID' => $zone]) : $dates->value = $joined;
        }
        $organizer = $event->first('ORGANIZER') ?? throw new \ErrorException('An event with attendees lost its organizer.');
        foreach ([$organizer, ...$event->all('ATTENDEE')] as $person) {
            $person->drop('SCHEDULE-FORCE-SEND');
            $person->drop('SCHEDULE-STATUS');
            if ($person !== $organizer && !$person->has('PARTSTAT')) {
                $person->set('PARTSTAT', 'NEEDS-ACTION');
            }
        }
    }

    /** @return list<Message> one or none */
    private static function fromAttendee(
        Component $calendar,
        Meeting $old,
        Meeting $new,
        Attendee $attendee,
        bool $deleted,
    ): array {
        if ($new->organizerAnswersItself || $new->status === 'CANCELLED') {
            return [];
        }
        $before = $old->instances === [] ? [] : $old->attendees[$attendee->address]->answers ?? [];
        $answers = $deleted ? ['master' => 'DECLINED'] : $attendee->answers;
        if (($answers['master'] ?? 'DECLINED') !== 'DECLINED') {
            $answers = array_fill_keys(array_diff($new->dates, $old->dates), 'DECLINED') + $answers;
        }
        $changed = array_diff_assoc($answers, $before);
        if ($old->instances === [] && array_diff($changed, ['NEEDS-ACTION']) === []) {
            return []; // A new event without an answer.
        }
        $parties = [$attendee->address, $attendee->name, $new->organizer, $new->organizerName];
        $message = new Message('REPLY', ...$parties);
        foreach ($changed as $instance => $answer) {
            $event = self::event($message, $calendar, $new);
            $source = $new->instances[$instance] ?? null;
            if ($source === null) { // It was deleted.
                $zone = array_filter(['TZID' => $calendar->within('VEVENT')[0]->first('DTSTART')->get('TZID')]);
                $parameters = strlen((string) $instance) === 8 ? ['VALUE' => 'DATE'] : $zone;
                $event->add('DTSTART', (string) $instance, $parameters);
                $event->take($calendar->within('VEVENT')[0], 'SUMMARY');
                $event->add('RECURRENCE-ID', (string) $instance, $parameters);
            } else {
                $event->take($source, 'DTSTART', $source->first('DTEND') === null ? 'DURATION' : 'DTEND', 'SUMMARY');
                $event->take($source, 'RECURRENCE-ID');
            }
            $event->add('ORGANIZER', $new->organizer, $new->organizerName === null ? [] : ['CN' => $new->organizerName]);
            $name = $attendee->name ? ['CN' => $attendee->name] : [];
            $event->add('ATTENDEE', $attendee->address, ['PARTSTAT' => $answer] + $name);
        }

        return $changed === [] ? [] : [$message];
    }

    /** Adds an event to the message. */
    private static function event(Message $message, Component $calendar, Meeting $meeting): Component
    {
        $first = $calendar->within('VEVENT')[0];
        $message->calendar->components = [...$message->calendar->within('VEVENT'), ...$calendar->within('VTIMEZONE')];
        $message->calendar->components[] = $event = new Component('VEVENT');
        $event->take($first, 'UID');
        $event->add('DTSTAMP', gmdate('Ymd\THis\Z'));
        $event->add('SEQUENCE', (string) $meeting->sequence);

        return $event;
    }
}
