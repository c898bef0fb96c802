<?php
/** The page at the root. */
declare(strict_types=1);

namespace Standin\Web;

use Standin\Environment;

final class Home
{
    public static function serve(): void
    {
        Environment::start();
        Page::send('Baïkal server', '<h2>Baïkal is running alright.</h2><p><a href="admin/">Log in</a></p>');
    }
}
