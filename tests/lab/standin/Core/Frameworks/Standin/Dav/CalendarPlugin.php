<?php
/**
 * CalDAV, with a multiget that survives missing objects and with the marks of shared calendars.
 *
 * The contract: what expands recurrences, and free-busy, is a 500 on a calendar
 * whose timezone is not iCalendar, such as a bare name.
 */
declare(strict_types=1);

namespace Standin\Dav;

use Sabre\CalDAV\Plugin;
use Sabre\DAV\INode;
use Sabre\DAV\Server as SabreServer;
use Sabre\VObject\Reader;

final class CalendarPlugin extends Plugin
{
    use Multiget;

    public function initialize(SabreServer $server): void
    {
        parent::initialize($server);
        $server->subscribeEvent('afterGetProperties', $this->markShared(...));
    }

    public function report($reportName, $dom): ?bool
    {
        $expands = $dom->getElementsByTagNameNS(self::NS_CALDAV, 'expand')->length > 0;
        if ($expands || $reportName === '{' . self::NS_CALDAV . '}free-busy-query') {
            $property = '{' . self::NS_CALDAV . '}calendar-timezone';
            $found = $this->server->getProperties($this->server->getRequestUri(), [$property]);
            isset($found[$property]) && Reader::read($found[$property]);
        }

        return parent::report($reportName, $dom);
    }

    public function calendarMultiGetReport($dom): void
    {
        $this->leaveOutMissing($dom) ? parent::calendarMultiGetReport($dom) : $this->sendNothing();
    }

    private function markShared(string $path, array &$properties, INode $node): void
    {
        if (!$node instanceof Calendar || !isset($properties[200]['{DAV:}resourcetype'])) {
            return;
        }
        $mark = match ($node->access()) {
            Access::Unshared => null,
            Access::Owner => 'shared-owner',
            Access::Read, Access::ReadWrite => 'shared',
        };
        if ($mark !== null) {
            $properties[200]['{DAV:}resourcetype']->add('{' . self::NS_CALENDARSERVER . "}$mark");
        }
    }
}
