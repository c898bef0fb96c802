<?php
/** calendars/, with a home for each user. */
declare(strict_types=1);

namespace Standin\Dav;

use Sabre\CalDAV\CalendarRootNode;

final class CalendarRoot extends CalendarRootNode
{
    public function getChildForPrincipal(array $principal): CalendarHome
    {
        return new CalendarHome($this->caldavBackend, $principal);
    }
}
