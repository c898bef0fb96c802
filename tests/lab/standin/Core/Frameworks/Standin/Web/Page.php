<?php
/**
 * One HTML page.
 *
 * The contract: <base href> is the guessed absolute address; pages must not be
 * framed or sniffed; a form carries the session's CSRF_TOKEN, and a POST
 * without it is refused.
 */
declare(strict_types=1);

namespace Standin\Web;

use Standin\Environment;

final class Page
{
    public static function sendHeaders(): void
    {
        header('Content-Type: text/html; charset=UTF-8');
        header('X-Frame-Options: DENY');
        header('X-Content-Type-Options: nosniff');
    }

    /** @param string $body HTML */
    public static function send(string $title, string $body): void
    {
        self::sendHeaders();
        $base = htmlspecialchars(Environment::$baseUrl);
        echo <<<HTML
            <!DOCTYPE html>
            <html lang="en">
            <head>
                <meta charset="utf-8">
                <title>$title</title>
                <base href="$base">
                <link href="res/core/Baikal/style.css" rel="stylesheet">
            </head>
            <body>
            $body
            </body>
            </html>

            HTML;
    }

    /** @throws \Exception when a form was not asked for in this session */
    public static function refuseForeignForms(): void
    {
        if ($_SERVER['REQUEST_METHOD'] === 'POST' && ($_POST['CSRF_TOKEN'] ?? '') !== $_SESSION['CSRF_TOKEN']) {
            throw new \Exception('CSRF token was not submitted or did not match the session.');
        }
    }
}
