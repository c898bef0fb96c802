<?php
/** Entry point: the page that says the server runs. */
declare(strict_types=1);

require dirname(getcwd()) . '/vendor/autoload.php';

Standin\Web\Home::serve();
