<?php
/**
 * What somebody may do with a calendar, as calendarinstances.access numbers it.
 * A calendar that a client makes has no number, which counts as unshared: its owner's.
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
