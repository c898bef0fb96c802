<?php
/**
 * The installer: wizard, database form, upgrade.
 *
 * The contract: there is no login. Without configured_version or
 * admin_passwordhash it shows the wizard. With another version it shows the
 * upgrade, which a GET with upgradeConfirmed runs, also to an older version.
 * Without Specific/INSTALL_DISABLED it shows the database form, which saves,
 * creates the tables and closes the installer. Otherwise it shows a sentence.
 */
declare(strict_types=1);

namespace Standin\Web;

use BaikalAdmin\Controller\Install\VersionUpgrade;
use Standin\Config;
use Standin\Database;
use Standin\Environment;

final class Installer
{
    public static function serve(): void
    {
        Environment::start('admin/install/');
        Page::refuseForeignForms();
        $system = is_file(Config::file()) ? Config::read()['system'] ?? [] : [];
        $body = match (true) {
            !isset($system['configured_version'], $system['admin_passwordhash']) => self::wizard(),
            $system['configured_version'] !== BAIKAL_VERSION => self::upgradePage((string) $system['configured_version']),
            !file_exists(Environment::$specific . '/INSTALL_DISABLED') => self::databasePage(),
            default => null,
        };
        if ($body === null) {
            Page::sendHeaders();
            echo "Installation was already completed. Please head to the admin interface to modify any settings.\n";
        } else {
            Page::send('Baïkal Maintenance', $body);
        }
    }

    private static function wizard(): string
    {
        foreach ([Environment::$specific, Environment::$config] as $directory) {
            if (!is_writable($directory)) {
                exit('<h1>Error - Insufficient  permissions on the configuration folders</h1>');
            }
        }
        $form = new Form('system');
        if ($form->isSubmitted() && $form->saveSystem()) {
            $kind = Config::isOlderThan('0.10.0') ? ['mysql' => false] : ['backend' => 'sqlite'];
            Config::save('database', $kind + ['encryption_key' => bin2hex(random_bytes(16))]);
            header('Location: ' . Environment::$baseUrl . 'admin/install/?/database');
            exit;
        }

        return '<h1>Baïkal initialization wizard</h1>' . $form->html();
    }

    private static function databasePage(): string
    {
        $form = new Form('database');
        if ($form->isSubmitted()) {
            $section = array_merge(Config::section('database'), $form->values());
            try {
                $schemas = Environment::$root . 'Core/Resources/Db/';
                Database::prepare(Database::connect(Database::backend($section), $section), $schemas);
                Config::save('database', $form->values());
                touch(Environment::$specific . '/INSTALL_DISABLED');

                return '<p>Baïkal is now installed, and its database properly configured.</p>';
            } catch (\RuntimeException $fault) {
                $form->message = 'Validation error: ' . htmlspecialchars($fault->getMessage());
            }
        }

        return '<h1>Baïkal Database setup</h1>' . $form->html();
    }

    private static function upgradePage(string $from): string
    {
        $html = "<h1>Baïkal upgrade wizard</h1><p>Upgrading Baïkal from version <strong>" . htmlspecialchars($from)
            . '</strong> to version <strong>' . BAIKAL_VERSION . '</strong></p>';
        if (!($_GET['upgradeConfirmed'] ?? false)) {
            return $html . '<p><a href="admin/install/index.php?upgradeConfirmed=true">Start upgrade</a></p>';
        }
        try {
            VersionUpgrade::upgrade(Environment::$database, $from);

            return "$html<p>Baïkal has been successfully upgraded.</p><p><a href=\"admin/\">Access the Baïkal admin</a></p>";
        } catch (\Exception $fault) {
            return "$html<h3>Errors</h3>Uncaught exception during upgrade: " . htmlspecialchars((string) $fault)
                . '<p>Error: Baïkal has not been upgraded.</p>';
        }
    }
}
