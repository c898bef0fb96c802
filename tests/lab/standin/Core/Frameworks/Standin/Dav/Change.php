<?php
/** Kind of change of an object, with its number in the changes tables. */
declare(strict_types=1);

namespace Standin\Dav;

enum Change: int
{
    case Added = 1;
    case Modified = 2;
    case Deleted = 3;
}
