<?php
/**
 * The two sections of config/baikal.yaml.
 *
 * The contract: the known keys and their defaults. A saved section is rewritten
 * with only the known keys, so comments and unknown keys are lost. Before 0.10.0,
 * `mysql` was used in place of `backend`, and there was no PostgreSQL; before
 * 0.11.0 there was no mysql_ca_cert.
 */
declare(strict_types=1);

namespace Standin;

final class Config
{
    public static function file(): string
    {
        return Environment::$config . 'baikal.yaml';
    }

    /** @return array<string, array<string, mixed>> */
    public static function read(): array
    {
        return Yaml::parseFile(self::file());
    }

    /** @return array<string, mixed> the section's known keys, with defaults for those missing in the file */
    public static function section(string $section): array
    {
        $defaults = self::defaults($section);
        $stored = is_file(self::file()) ? self::read()[$section] ?? [] : [];

        return array_merge($defaults, array_intersect_key($stored, $defaults));
    }

    /** @param array<string, mixed> $changes */
    public static function save(string $section, array $changes): void
    {
        $document = is_file(self::file()) ? self::read() : [];
        $document[$section] = array_merge(self::section($section), $changes);
        file_put_contents(self::file(), Yaml::dump($document));
    }

    /** Whether this release came before the version that changed something. */
    public static function isOlderThan(string $version): bool
    {
        return version_compare(BAIKAL_VERSION, $version, '<');
    }

    /** How Baïkal hashes the administrator's password. */
    public static function adminHash(string $password, string $realm): string
    {
        return hash('sha256', "admin:$realm:$password");
    }

    /** @return array<string, mixed> */
    private static function defaults(string $section): array
    {
        if ($section === 'system') {
            return [
                'configured_version' => BAIKAL_VERSION,
                'timezone' => 'Europe/Paris',
                'card_enabled' => true,
                'cal_enabled' => true,
                'dav_auth_type' => 'Digest',
                'admin_passwordhash' => '',
                'failed_access_message' => 'user %u authentication failure for Baikal',
                'auth_realm' => 'BaikalDAV',
                'base_uri' => '',
                'invite_from' => 'noreply@' . ($_SERVER['SERVER_NAME'] ?? ''),
            ];
        }

        $former = self::isOlderThan('0.10.0');

        return [
            'sqlite_file' => Environment::$specific . 'db/db.sqlite',
            ...($former ? ['mysql' => false] : ['backend' => '']),
            'mysql_host' => '',
            'mysql_dbname' => '',
            'mysql_username' => '',
            'mysql_password' => '',
            ...(self::isOlderThan('0.11.0') ? [] : ['mysql_ca_cert' => '']),
            'encryption_key' => '',
            ...($former ? [] : ['pgsql_host' => '', 'pgsql_dbname' => '', 'pgsql_username' => '', 'pgsql_password' => '']),
        ];
    }
}
