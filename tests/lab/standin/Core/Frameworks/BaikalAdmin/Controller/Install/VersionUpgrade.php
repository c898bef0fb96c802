<?php
/**
 * The steps that migrate data of an older version to this one.
 *
 * The contract: this file has a release's steps, each behind a
 * version_compare with the version that introduced it. Changes of a step that
 * fails are not rolled back. configured_version is written last.
 */
declare(strict_types=1);

namespace BaikalAdmin\Controller\Install;

use Standin\Config;

final class VersionUpgrade
{
    public static function upgrade(\PDO $pdo, string $sVersionFrom): void
    {
        if (version_compare($sVersionFrom, '0.5.1', '<')) {
            throw new \Exception("This stand-in does not support upgrading from version $sVersionFrom: the tables were others.");
        }
        if (!is_writable(Config::file())) {
            throw new \Exception(Config::file() . ' is not writable');
        }
        if (version_compare($sVersionFrom, '0.9.4', '<')) {
            $pdo->exec('UPDATE calendarinstances SET access = 1 WHERE access IS NULL');
            $pdo->exec('UPDATE calendarinstances SET share_invitestatus = 2 WHERE share_invitestatus IS NULL');
        }
        if (version_compare($sVersionFrom, '0.10.0', '<') && version_compare(BAIKAL_VERSION, '0.10.0', '>=')) {
            $mysql = (int) (Config::read()['database']['mysql'] ?? 0) === 1;
            Config::save('database', ['backend' => $mysql ? 'mysql' : 'sqlite']);
        }
        // A stand-in for a future release has its own steps here.
        Config::save('system', ['configured_version' => BAIKAL_VERSION]);
    }
}
