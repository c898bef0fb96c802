<?php
/**
 * Invitations (RFC 6638), as far as they are mail.
 *
 * The contract: what an organizer stores goes to the attendees, what an
 * attendee answers to the organizer, by PHP's mail() with raw UTF-8 in
 * recipient, subject and From, no Date, no Message-ID, and no look at whether
 * it was accepted: SCHEDULE-STATUS is 1.1. If ORGANIZER is not the owner's
 * address, or invite_from is empty, no mail is sent. People on this server get
 * theirs by mail too; there is no inbox.
 */
declare(strict_types=1);

namespace Standin\Dav;

use Sabre\CalDAV\ICalendarObject;
use Sabre\DAV\ICollection;
use Sabre\DAV\IFile;
use Sabre\DAV\Server as SabreServer;
use Sabre\DAV\ServerPlugin;
use Sabre\VObject\Component;
use Sabre\VObject\Property;
use Sabre\VObject\Reader;

final class Scheduling extends ServerPlugin
{
    /** A change of one of these is worth telling people who have been told before. */
    private const SIGNIFICANT = ['DTSTART', 'DTEND', 'DURATION', 'DUE', 'RRULE', 'RDATE', 'EXDATE', 'STATUS'];

    private SabreServer $server;

    public function __construct(
        private readonly \PDO $pdo,
        private readonly Calendars $calendars,
        private readonly string $sender,
    ) {
    }

    public function getFeatures(): array
    {
        return ['calendar-auto-schedule'];
    }

    public function initialize(SabreServer $server): void
    {
        $this->server = $server;
        $server->subscribeEvent('beforeCreateFile', $this->created(...));
        $server->subscribeEvent('beforeWriteContent', $this->changed(...));
        $server->subscribeEvent('beforeUnbind', $this->removed(...));
    }

    // The two events hand on a stream for what is not iCalendar, such as a card.

    private function created(string $path, mixed &$data, ICollection $parent): void
    {
        if ($parent instanceof Calendar) {
            $data = $this->handle($parent->getOwner(), null, $data);
        }
    }

    private function changed(string $path, IFile $node, mixed &$data): void
    {
        if ($node instanceof ICalendarObject) {
            $data = $this->handle($node->getOwner(), $node->get(), $data);
        }
    }

    private function removed(string $path): void
    {
        $node = $this->server->tree->getNodeForPath($path);
        if ($node instanceof ICalendarObject && $this->server->httpRequest->getMethod() !== 'MOVE') {
            $this->handle($node->getOwner(), $node->get(), null);
        }
    }

    /** @return string|null the new data, with what became of each message */
    private function handle(string $owner, ?string $before, ?string $after): ?string
    {
        $old = $before === null ? null : Reader::read($before);
        $new = $after === null ? null : Reader::read($after);
        $event = ($new ?? $old)->VEVENT;
        if (!isset($event->ORGANIZER) || $this->server->httpRequest->getHeader('Schedule-Reply') === 'F') {
            return $after;
        }
        $email = $this->pdo->prepare('SELECT email FROM principals WHERE uri = ?');
        $email->execute([$owner]);
        $address = strtolower((string) $email->fetchColumn());
        $told = self::address($event->ORGANIZER) === $address
            ? $this->tellAttendees($event->ORGANIZER, $old, $new)
            : $this->answer($address, $old, $new);
        if (!$told || $new === null) {
            return $after;
        }
        $this->calendars->altered = true;

        return ICalendar::text($new);
    }

    /** @return bool whether anybody was told */
    private function tellAttendees(Property $organizer, ?Component $old, ?Component $new): bool
    {
        $before = self::attendees($old);
        $after = self::attendees($new);
        unset($before[self::address($organizer)], $after[self::address($organizer)]);
        foreach (array_diff_key($before, $after) as $attendee) {
            $this->send('CANCEL', $organizer, $attendee, $old);
        }
        $significant = self::fingerprint($old) !== self::fingerprint($new);
        foreach ($after as $address => $attendee) {
            $status = $this->send('REQUEST', $organizer, $attendee, $new, $significant || !isset($before[$address]));
            if ($status !== null) {
                $attendee['SCHEDULE-STATUS'] = $status;
            }
        }

        return $before !== [] || $after !== [];
    }

    /** @return bool whether the organizer was told */
    private function answer(string $address, ?Component $old, ?Component $new): bool
    {
        $before = self::attendees($old)[$address] ?? null;
        $after = self::attendees($new)[$address] ?? null;
        $answer = $new === null ? 'DECLINED' : strtoupper((string) ($after['PARTSTAT'] ?? 'NEEDS-ACTION'));
        $known = $before === null ? 'NEEDS-ACTION' : strtoupper((string) ($before['PARTSTAT'] ?? 'NEEDS-ACTION'));
        if (($before ?? $after) === null || $answer === $known) {
            return false;
        }
        $me = clone ($after ?? $before);
        $me['PARTSTAT'] = $answer;
        $organizer = ($new ?? $old)->VEVENT->ORGANIZER;
        $organizer['SCHEDULE-STATUS'] = $this->send('REPLY', $me, $organizer, $new ?? $old);

        return true;
    }

    /** @return string|null the status of RFC 6638, section 7.3, if there is anything to tell */
    private function send(string $method, Property $from, Property $to, Component $event, bool $worthMail = true): ?string
    {
        $message = clone $event;
        $message->METHOD = $method;
        foreach ($message->select('VEVENT') as $part) {
            if ($method !== 'REQUEST') {
                unset($part->ATTENDEE);
                $part->add(clone ($method === 'REPLY' ? $from : $to));
            }
            foreach ([$part->ORGANIZER, ...$part->select('ATTENDEE')] as $person) {
                unset($person['SCHEDULE-STATUS']);
            }
        }
        if (!$worthMail) {
            return null;
        }
        if ($this->sender === '' || !str_starts_with(strtolower((string) $to), 'mailto:')) {
            return '3.7';
        }
        $recipient = self::address($to);
        $subject = ['REQUEST' => 'Invitation: ', 'CANCEL' => 'Cancelled: ', 'REPLY' => 'Re: '][$method];
        $subject .= preg_replace('/\\\\([,;])/', '$1', (string) $message->VEVENT->SUMMARY);
        mail(self::named($to, $recipient), $subject, ICalendar::text($message), implode("\r\n", [
            'Reply-To: ' . self::named($from, self::address($from)),
            'From: ' . ($from['CN'] ?? '') . " <$this->sender>",
            'MIME-Version: 1.0',
            "Content-Type: text/calendar; charset=UTF-8; method=$method",
        ]));

        return '1.1';
    }

    /** @return array<string, Property> by address */
    private static function attendees(?Component $calendar): array
    {
        $attendees = [];
        foreach ($calendar?->VEVENT?->ATTENDEE ?? [] as $attendee) {
            $attendees[self::address($attendee)] = $attendee;
        }

        return $attendees;
    }

    private static function address(Property $person): string
    {
        return preg_replace('/^mailto:/', '', strtolower((string) $person));
    }

    private static function named(Property $person, string $address): string
    {
        return isset($person['CN']) && (string) $person['CN'] !== $address ? "{$person['CN']} <$address>" : $address;
    }

    private static function fingerprint(?Component $calendar): string
    {
        $parts = '';
        foreach ($calendar?->select('VEVENT') ?? [] as $event) {
            foreach (self::SIGNIFICANT as $name) {
                $parts .= implode(',', array_map('strval', $event->select($name))) . ';';
            }
        }

        return $parts;
    }
}
