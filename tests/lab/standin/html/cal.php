<?php
/** Entry point: CalDAV alone; refuses when cal_enabled is not true. */
declare(strict_types=1);

require dirname(getcwd()) . '/vendor/autoload.php';

Standin\Dav\Server::serve('cal');
