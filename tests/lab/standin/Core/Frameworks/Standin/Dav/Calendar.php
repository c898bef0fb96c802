<?php
/**
 * A calendar as seen by one user.
 *
 * The contract: the owner and a sharee with access 3 write; one with access 2
 * reads, and may still give the calendar another name or colour for herself.
 */
declare(strict_types=1);

namespace Standin\Dav;

use Sabre\CalDAV\Calendar as SabreCalendar;
use Sabre\CalDAV\CalendarObject;
use Sabre\CalDAV\Plugin as CalDav;
use Sabre\DAV\Exception\NotFound;

final class Calendar extends SabreCalendar
{
    public function access(): Access
    {
        return $this->calendarInfo['access'];
    }

    public function getACL(): array
    {
        return [
            ...$this->accessTo(['{DAV:}read', '{DAV:}write-properties'], ['{DAV:}write']),
            [
                'privilege' => '{' . CalDav::NS_CALDAV . '}read-free-busy',
                'principal' => '{DAV:}authenticated',
                'protected' => true,
            ],
        ];
    }

    public function getChild($name): CalendarObject
    {
        $object = $this->caldavBackend->getCalendarObject($this->calendarInfo['id'], $name);

        return $this->child($object ?? throw new NotFound('Calendar object not found'));
    }

    public function getChildren(): array
    {
        return array_map($this->child(...), $this->caldavBackend->getCalendarObjects($this->calendarInfo['id']));
    }

    private function child(array $object): CalendarObject
    {
        $acl = $this->accessTo(['{DAV:}read'], ['{DAV:}write']);

        return new CalendarObject($this->caldavBackend, $this->calendarInfo, ['acl' => $acl] + $object);
    }

    /**
     * @param list<string> $always
     * @param list<string> $forWriters
     */
    private function accessTo(array $always, array $forWriters): array
    {
        $privileges = $this->access() === Access::Read ? $always : [...$always, ...$forWriters];
        $acl = [];
        foreach ($privileges as $privilege) {
            foreach (['', '/calendar-proxy-write'] as $delegate) {
                $acl[] = ['privilege' => $privilege, 'principal' => $this->getOwner() . $delegate, 'protected' => true];
            }
        }
        $acl[] = ['privilege' => '{DAV:}read', 'principal' => $this->getOwner() . '/calendar-proxy-read', 'protected' => true];

        return $acl;
    }
}
