<?php
/** calendars/<name>/: the user's own calendars and those that others share. */
declare(strict_types=1);

namespace Standin\Dav;

use Sabre\CalDAV\Schedule\Outbox;
use Sabre\CalDAV\UserCalendars;

final class CalendarHome extends UserCalendars
{
    public function getChildren(): array
    {
        $principal = $this->principalInfo['uri'];
        $calendars = $this->caldavBackend->getCalendarsForUser($principal);

        return [
            ...array_map(fn (array $calendar): Calendar => new Calendar($this->caldavBackend, $calendar), $calendars),
            new Outbox($principal),
        ];
    }
}
