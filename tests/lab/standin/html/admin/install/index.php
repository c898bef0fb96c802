<?php
/**
 * Entry point: the installer, on the web and, for an upgrade without a
 * browser, on the command line from this very directory.
 */
declare(strict_types=1);

require dirname(getcwd(), 3) . '/vendor/autoload.php';

Standin\Web\Installer::serve();
