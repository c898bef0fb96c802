<?php
/** A message to one participant (RFC 5546). */
declare(strict_types=1);

namespace Standin\Itip;

final class Message
{
    public readonly Component $calendar;

    public function __construct(
        public readonly string $method,
        public readonly string $sender,
        public readonly ?string $senderName,
        public readonly string $recipient,
        public readonly ?string $recipientName,
        public readonly bool $worthMail = true,
    ) {
        $this->calendar = new Component('VCALENDAR');
        $this->calendar->add('VERSION', '2.0');
        $this->calendar->add('PRODID', '-//baikal-deploy//stand-in//EN');
        $this->calendar->add('CALSCALE', 'GREGORIAN');
        $this->calendar->add('METHOD', $method);
    }
}
