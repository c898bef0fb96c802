<?php
/**
 * Invitations by mail (RFC 6638).
 *
 * The contract: an organizer's event is sent to the attendees, an attendee's
 * answer to the organizer, with one call of PHP's mail() per recipient. Names
 * are raw UTF-8, not quoted, and keep their line breaks. There is no Date and
 * no Message-ID, and the result of mail() is ignored: SCHEDULE-STATUS is 1.1.
 * Without invite_from or a mail address, it is 1.2 for users of this server and
 * 3.7 for others. Users of this server get mail too. If ORGANIZER is not the
 * owner's address, nothing happens; ORGANIZER is lowercased before the
 * comparison, and the owner's address is not. PHP's warnings, such as for an
 * empty line in an organizer's name, are a 500.
 */
declare(strict_types=1);

namespace Standin\Dav;

use Sabre\CalDAV\ICalendarObject;
use Sabre\DAV\ICollection;
use Sabre\DAV\IFile;
use Sabre\DAV\Server as SabreServer;
use Sabre\DAV\ServerPlugin;
use Sabre\DAV\Version;
use Standin\Itip\Broker;
use Standin\Itip\Component;
use Standin\Itip\Message;

final class Scheduling extends ServerPlugin
{
    private const SUBJECTS = ['REQUEST' => 'Invitation: ', 'CANCEL' => 'Cancelled: ', 'REPLY' => 'Re: '];

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

    // Both hooks get a stream for data that is not iCalendar, such as a card.

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

    /** @return string|null the new data, with the status of each message */
    private function handle(string $owner, ?string $before, ?string $after): ?string
    {
        if ($this->server->httpRequest->getHeader('Schedule-Reply') === 'F') {
            return $after;
        }
        $old = $before === null ? null : Component::read($before);
        $new = $after === null ? null : Component::read($after);
        $email = $this->pdo->prepare('SELECT email FROM principals WHERE uri = ?');
        $email->execute([$owner]);
        $address = (string) $email->fetchColumn();
        $addresses = [$this->server->getBaseUri() . "$owner/", ...($address === '' ? [] : ["mailto:$address"])];
        $messages = Broker::messages($old, $new, $addresses);
        foreach ($messages as $message) {
            $status = $this->deliver($message);
            $new === null || self::note($new->within('VEVENT')[0], $message->recipient, $status);
        }
        if ($messages === [] || $new === null) {
            return $after;
        }
        $this->calendars->altered = true;

        return $new->text();
    }

    /** Stores the status of a message at the event's first instance for this participant. */
    private static function note(Component $event, string $recipient, string $status): void
    {
        foreach ([...$event->all('ORGANIZER'), ...$event->all('ATTENDEE')] as $person) {
            if ($person->address() === $recipient) {
                $status === '' || $person->set('SCHEDULE-STATUS', $status);
                $person->drop('SCHEDULE-FORCE-SEND');
                break;
            }
        }
    }

    /** @return string the status of RFC 6638, section 7.3; empty if there is nothing to say */
    private function deliver(Message $message): string
    {
        $known = $this->pdo->prepare("SELECT 1 FROM principals WHERE 'mailto:' || lower(email) = ?");
        $known->execute([$message->recipient]);
        $status = $known->fetchColumn() ? '1.2' : '3.7';
        if (!$message->worthMail) {
            return $status === '3.7' ? '' : $status;
        }
        foreach ([$message->sender, $message->recipient] as $address) {
            if ($this->sender === '' || parse_url($address, PHP_URL_SCHEME) !== 'mailto') {
                return $status;
            }
        }
        set_error_handler(static fn (int $severity, string $text) => throw new \ErrorException($text, 0, $severity));
        try {
            $this->mail($message);
        } finally {
            restore_error_handler();
        }

        return '1.1';
    }

    private function mail(Message $message): void
    {
        $recipient = substr($message->recipient, strlen('mailto:'));
        $sender = substr($message->sender, strlen('mailto:'));
        $named = $message->recipientName && $message->recipientName !== $recipient;
        $summary = $message->calendar->within('VEVENT')[0]->first('SUMMARY')->value ?? '';
        $headers = [
            'Reply-To: ' . ($message->senderName === null ? $sender : "$message->senderName <$sender>"),
            "From: $message->senderName <$this->sender>",
            'MIME-Version: 1.0',
            "Content-Type: text/calendar; charset=UTF-8; method=$message->method",
            'X-Sabre-Version: ' . Version::VERSION,
        ];
        mail(
            $named ? "$message->recipientName <$recipient>" : $recipient,
            self::SUBJECTS[$message->method] . $summary,
            $message->calendar->text(),
            implode("\r\n", $headers),
        );
    }
}
