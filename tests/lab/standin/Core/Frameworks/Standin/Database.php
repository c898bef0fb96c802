<?php
/**
 * The connection, chosen by `backend`.
 *
 * The contract: `backend` decides, and the older `mysql: true` still does; before
 * 0.10.0 only that was used. A port, and TLS for PostgreSQL, are part of the
 * host's value. All keys of MySQL, also its password, are required. An
 * unwritable SQLite file or directory, or an unreachable server, ends the request
 * with a sentence, status 200 and nothing in the log. A missing SQLite file means
 * no connection.
 */
declare(strict_types=1);

namespace Standin;

final class Database
{
    private const REQUIRED = [
        'addressbooks', 'calendarobjects', 'calendars', 'cards', 'groupmembers', 'locks', 'principals', 'users',
    ];

    /** @param array<string, mixed> $section */
    public static function open(array $section): ?\PDO
    {
        $backend = self::backend($section);
        if ($backend !== 'sqlite') {
            return self::server($backend, $section);
        }
        $file = (string) ($section['sqlite_file'] ?? '');
        if ($file === '') {
            return null;
        }
        if (file_exists($file) && !is_writable($file)) {
            exit('<h3>DB file is not writable: ' . htmlspecialchars($file) . '</h3>');
        }
        if (!is_writable(dirname($file))) {
            exit('<h3>The folder of the DB file is not writable: ' . htmlspecialchars(dirname($file)) . '</h3>');
        }

        return file_exists($file) && is_readable($file) ? self::connect('sqlite', $section) : null;
    }

    /** @param array<string, mixed> $section */
    private static function server(string $backend, array $section): \PDO
    {
        $needed = $backend === 'mysql' ? ['host', 'dbname', 'username', 'password'] : ['host', 'dbname'];
        foreach ($needed as $key) {
            if (!($section["{$backend}_$key"] ?? '')) {
                exit("<h3>{$backend}_$key is not set. You should set it in config/baikal.yaml</h3>");
            }
        }
        $name = $backend === 'mysql' ? 'MySQL' : 'PostgreSQL';
        try {
            return self::connect($backend, $section);
        } catch (\Exception) {
            exit("<h3>Ba&iuml;kal was not able to establish a connection to the configured $name database.</h3>");
        }
    }

    /** @param array<string, mixed> $section */
    public static function connect(string $backend, array $section): \PDO
    {
        $source = match ($backend) {
            'sqlite' => "sqlite:{$section['sqlite_file']}",
            default => "$backend:host={$section["{$backend}_host"]};dbname={$section["{$backend}_dbname"]}",
        };
        $options = [\PDO::ATTR_ERRMODE => \PDO::ERRMODE_EXCEPTION];
        if ($backend === 'mysql' && !Config::isOlderThan('0.11.0') && ($section['mysql_ca_cert'] ?? '') !== '') {
            // PHP 8.4 has a new name for it, and the old one is deprecated.
            $authority = defined('Pdo\Mysql::ATTR_SSL_CA') ? 'Pdo\Mysql::ATTR_SSL_CA' : 'PDO::MYSQL_ATTR_SSL_CA';
            $options[constant($authority)] = $section['mysql_ca_cert'];
        }
        $pdo = new \PDO($source, $section["{$backend}_username"] ?? null, $section["{$backend}_password"] ?? null, $options);
        match ($backend) {
            'mysql' => $pdo->exec('SET NAMES UTF8'), // without 4-byte characters, as Baïkal does
            'pgsql' => $pdo->exec("SET NAMES 'UTF8'"),
            default => null,
        };

        return $pdo;
    }

    /**
     * Creates the tables if there are none, as the installer does.
     *
     * @throws \RuntimeException if some exist and some are missing
     */
    public static function prepare(\PDO $pdo, string $schemas): void
    {
        $missing = array_filter(self::REQUIRED, static function (string $table) use ($pdo): bool {
            try {
                return $pdo->query("SELECT 1 FROM $table LIMIT 1") === false;
            } catch (\PDOException $fault) {
                return str_contains(strtolower($fault->getMessage()), $table) ?: throw $fault;
            }
        });
        if ($missing === []) {
            return;
        }
        if (count($missing) < count(self::REQUIRED)) {
            throw new \RuntimeException('Database is not structurally complete; missing: ' . implode(', ', $missing));
        }
        $folder = ['sqlite' => 'SQLite', 'mysql' => 'MySQL', 'pgsql' => 'PgSQL'];
        $file = $schemas . $folder[$pdo->getAttribute(\PDO::ATTR_DRIVER_NAME)] . '/db.sql';
        foreach (array_filter(array_map('trim', explode(';', (string) file_get_contents($file)))) as $statement) {
            $pdo->exec($statement);
        }
    }

    /** @param array<string, mixed> $section */
    public static function backend(array $section): string
    {
        if (Config::isOlderThan('0.10.0')) {
            return ($section['mysql'] ?? false) === true ? 'mysql' : 'sqlite';
        }
        $named = in_array($section['backend'] ?? '', ['mysql', 'pgsql'], true) ? $section['backend'] : 'sqlite';

        return ($section['mysql'] ?? false) === true ? 'mysql' : $named;
    }
}
