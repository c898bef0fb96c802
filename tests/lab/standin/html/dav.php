<?php
/** Entry point: CalDAV and CardDAV in one. */
declare(strict_types=1);

require dirname(getcwd()) . '/vendor/autoload.php';

Standin\Dav\Server::serve('dav');
