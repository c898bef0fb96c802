<?php
/**
 * The administrator's pages: login, overview, system settings, logout.
 *
 * The contract: POST auth=1, login, password; a failed log-in is logged as
 * failed_access_message says, with the name; settings are at
 * admin/?/settings/standard/ and a save rewrites the system section.
 */
declare(strict_types=1);

namespace Standin\Web;

use Standin\Config;
use Standin\Environment;

final class Admin
{
    public static function serve(): void
    {
        Environment::start('admin/');
        $system = Config::section('system');
        if (self::isLoggedIn($system)) {
            Page::refuseForeignForms();
            self::route(trim(explode('?', $_SERVER['REQUEST_URI'], 2)[1] ?? '', '/'));
        } elseif (self::logIn($system)) {
            header("Location: {$_SERVER['REQUEST_URI']}");
        } else {
            self::askToLogIn($system);
        }
    }

    private static function route(string $route): void
    {
        if ($route === 'logout') {
            unset($_SESSION['baikaladminauth']);
            header('Location: ' . self::address());

            return;
        }
        $body = '<p><a href="admin/">Dashboard</a> <a href="admin/?/settings/standard/">System settings</a>'
            . ' <a href="admin/?/logout/">Logout</a></p>';
        if (str_starts_with($route, 'settings/standard')) {
            $form = new Form('system');
            if ($form->isSubmitted()) {
                $form->saveSystem();
            }
            $body .= '<h1>Baïkal system settings</h1>' . $form->html();
        } else {
            $users = Environment::$database->query('SELECT COUNT(*) FROM users')->fetchColumn();
            $body .= '<h1>Dashboard</h1><h2>About this system</h2><p>A stand-in for Baïkal <strong>' . BAIKAL_VERSION
                . "</strong></p><p>Registered users: $users</p>";
        }
        Page::send('Baïkal ' . BAIKAL_VERSION . ' Web Admin', $body);
    }

    /** @param array<string, mixed> $system */
    private static function isLoggedIn(array $system): bool
    {
        return ($_SESSION['baikaladminauth'] ?? null) === md5($system['admin_passwordhash']);
    }

    /** @param array<string, mixed> $system */
    private static function logIn(array $system): bool
    {
        $hash = Config::adminHash((string) ($_POST['password'] ?? ''), $system['auth_realm']);
        $right = ($_POST['login'] ?? '') === 'admin' && hash_equals($system['admin_passwordhash'], $hash);
        if (!self::isAttempt() || !$right) {
            return false;
        }
        $_SESSION['baikaladminauth'] = md5($system['admin_passwordhash']);

        return true;
    }

    /** @param array<string, mixed> $system */
    private static function askToLogIn(array $system): void
    {
        $login = htmlspecialchars((string) ($_POST['login'] ?? ''));
        $message = '';
        if (self::isAttempt()) {
            $template = Config::read()['system']['failed_access_message'] ?? '';
            if ($template !== '') {
                error_log(str_replace('%u', $login, $template), 4);
            }
            $message = '<p>Authentication error: the login or password is invalid.</p>';
        }
        $action = htmlspecialchars(self::address());
        $login = $login ?: 'admin';
        Page::send('Baïkal ' . BAIKAL_VERSION . ' Web Admin', <<<HTML
            <h1>Authentication</h1>
            $message
            <form action="$action" method="post" enctype="multipart/form-data">
                <input type="hidden" name="auth" value="1">
                <p><label>Login <input type="text" name="login" value="$login"></label></p>
                <p><label>Password <input type="password" name="password"></label></p>
                <button type="submit">Authenticate</button>
            </form>
            HTML);
    }

    private static function isAttempt(): bool
    {
        return (int) ($_POST['auth'] ?? 0) === 1;
    }

    private static function address(): string
    {
        return parse_url(Environment::$baseUrl, PHP_URL_PATH) . 'admin/';
    }
}
