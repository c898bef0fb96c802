<?php
/** What happened to an object, as the changes tables number it. */
declare(strict_types=1);

namespace Standin\Dav;

enum Change: int
{
    case Added = 1;
    case Modified = 2;
    case Deleted = 3;
}
