<?php
/**
 * A user's access to a calendar, by the numbers of calendarinstances.access.
 * A calendar that a client has created has no number: it is its owner's.
 */
declare(strict_types=1);

namespace Standin\Dav;

enum Access: int
{
    case Unshared = 0;
    case Owner = 1;
    case Read = 2;
    case ReadWrite = 3;
}
