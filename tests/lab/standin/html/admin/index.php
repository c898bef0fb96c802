<?php
/** Entry point: the administrator's pages. */
declare(strict_types=1);

require dirname(getcwd(), 2) . '/vendor/autoload.php';

Standin\Web\Admin::serve();
