<?php
/**
 * The connection, chosen by `backend`.
 *
 * The contract: `backend` decides, and the older `mysql: true` still does. A
 * port is part of the host's value. An unwritable SQLite file or directory and
 * an unreachable server end the request with a sentence and status 200; a
 * missing SQLite file is no connection.
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
            try {
                return self::connect($backend, $section);
            } catch (\PDOException $fault) {
                error_log((string) $fault);
                exit("<h3>The configured $backend database cannot be reached.</h3>");
            }
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
    public static function connect(string $backend, array $section): \PDO
    {
        $source = match ($backend) {
            'sqlite' => "sqlite:{$section['sqlite_file']}",
            default => "$backend:host={$section["{$backend}_host"]};dbname={$section["{$backend}_dbname"]}",
        };
        $options = [\PDO::ATTR_ERRMODE => \PDO::ERRMODE_EXCEPTION];
        if ($backend === 'mysql' && ($section['mysql_ca_cert'] ?? '') !== '') {
            $options[\PDO::MYSQL_ATTR_SSL_CA] = $section['mysql_ca_cert'];
        }
        $pdo = new \PDO($source, $section["{$backend}_username"] ?? null, $section["{$backend}_password"] ?? null, $options);
        match ($backend) {
            'mysql' => $pdo->exec('SET NAMES utf8mb4'),
            'pgsql' => $pdo->exec("SET NAMES 'UTF8'"),
            default => null,
        };

        return $pdo;
    }

    /**
     * Makes the tables where none is, as the installer does.
     *
     * @throws \RuntimeException where some are and some are missing
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
    private static function backend(array $section): string
    {
        $named = in_array($section['backend'] ?? '', ['mysql', 'pgsql'], true) ? $section['backend'] : 'sqlite';

        return ($section['mysql'] ?? false) === true ? 'mysql' : $named;
    }
}
