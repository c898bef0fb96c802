<?php
/** Entry point: CardDAV alone; refuses when card_enabled is not true. */
declare(strict_types=1);

require dirname(getcwd()) . '/vendor/autoload.php';

Standin\Dav\Server::serve('card');
