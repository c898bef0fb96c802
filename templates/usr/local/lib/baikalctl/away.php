<?php
// If the database can't be reached, Baïkal prints a sentence or a stack trace with status 200, which clients accept as an
// answer, and sabre/dav answers 500 with the driver's error. Clients should try again instead. So this checks each request
// when its headers are about to be sent, and changes them to 503; nginx doesn't send the output then. The check doesn't
// parse the output: it uses whether Baïkal has a database, its exception, and whether its connection still answers.
// Nothing is buffered, because an answer may be as large as the memory.

namespace Baikalctl;

final class Away
{
    /**
     * Classes of SQLSTATE for errors that the request didn't cause: connection, rolled back, tables or rights that are missing,
     * no room, in use, shut down, input and output, interrupted.
     */
    private const PASSING = ['08', '40', '42', '53', '55', '57', '58', '70'];
    /** Numbers of general errors: SQLite's no table, busy, locked, read-only, I/O, damaged, full, can't open, no database … */
    private const GENERAL = [
        1, 5, 6, 8, 10, 11, 13, 14, 26,
        // … and MySQL's full, out of connections, shutting down, network, lock, read-only, killed and gone away.
        1021, 1040, 1053, 1114, 1158, 1159, 1160, 1161, 1203, 1205, 1290, 1836, 1927, 2002, 2003, 2006, 2013, 2055, 4031,
    ];
    private const PATIENCE_SECONDS = 3;
    /** How long no request connects, if connecting takes longer than PATIENCE_SECONDS. */
    private const REST_SECONDS = 15;

    /** Whether this request was checked. */
    private static bool $seen = false;
    /** Whether this request is the one that tests the connection for all others. */
    private static bool $tries = false;

    /**
     * Checks this request before its answer is sent.
     *
     * If the database doesn't answer at all, each request waits for a connection, usually for 30 seconds, until no worker is
     * left. So after the first of them, only one request now and then may connect.
     */
    public static function watch(): void
    {
        $marked = is_file(self::mark());
        $age = $marked ? time() - filemtime(self::mark()) : 0;
        if ($marked && $age >= 0 && $age < self::REST_SECONDS) {
            self::say();
        }
        self::$tries = $marked && touch(self::mark());
        header_register_callback(self::look(...));
        // Without output, headers are sent after PHP has destroyed Baïkal's database object.
        register_shutdown_function(self::look(...));
    }

    /** Ends the request: 503. */
    public static function say(): never
    {
        self::$seen = true;
        self::head();
        exit;
    }

    /** Ends the request with 503 because of the database, and logs the reason. */
    public static function because(string $reason): never
    {
        self::log($reason);
        if (self::$seen) {
            exit; // the headers are sent already
        }
        self::say();
    }

    /**
     * Returns a connection to the database in a section of baikal.yaml, like Baïkal's own but with a shorter timeout.
     *
     * @param array<string, mixed> $section
     */
    public static function connect(array $section): \PDO
    {
        $options = [\PDO::ATTR_ERRMODE => \PDO::ERRMODE_EXCEPTION, \PDO::ATTR_TIMEOUT => self::PATIENCE_SECONDS];
        $backend = self::backend($section);
        if ($backend === 'sqlite') {
            return new \PDO("sqlite:{$section['sqlite_file']}", options: $options);
        }
        if ($backend === 'mysql' && ($section['mysql_ca_cert'] ?? '') !== '') {
            // New versions of PHP have another name for it.
            $name = defined('Pdo\Mysql::ATTR_SSL_CA') ? 'Pdo\Mysql::ATTR_SSL_CA' : 'PDO::MYSQL_ATTR_SSL_CA';
            $options[constant($name)] = $section['mysql_ca_cert'];
        }

        return new \PDO(
            "$backend:host={$section["{$backend}_host"]};dbname={$section["{$backend}_dbname"]}",
            $section["{$backend}_username"] ?? null,
            $section["{$backend}_password"] ?? null,
            $options,
        );
    }

    /** @param array<string, mixed> $section */
    public static function backend(array $section): string
    {
        // Older releases had "mysql: true", and newer ones still honour it.
        $named = ($section['mysql'] ?? false) === true ? 'mysql' : ($section['backend'] ?? 'sqlite');

        return in_array($named, ['mysql', 'pgsql'], true) ? $named : 'sqlite';
    }

    private static function look(): void
    {
        if (self::$seen) {
            return;
        }
        self::$seen = true;
        $reason = self::reason();
        if ($reason === '') {
            self::reached();
        } else {
            self::log($reason);
            self::head();
        }
    }

    /** Allows all requests to connect again, if this request was the test. */
    private static function reached(): void
    {
        if (self::$tries) {
            @unlink(self::mark());
        }
    }

    private static function mark(): string
    {
        return ini_get('session.save_path') . '/away';
    }

    /** Returns why this request has no answer; empty if it has one. */
    private static function reason(): string
    {
        if (method_exists('\Flake\Framework', 'isDBInitialized')
            && (!\Flake\Framework::isDBInitialized() || self::connecting())) {
            return self::why();
        }
        // The data must be upgraded: all URLs redirect to the installer, which is not served.
        if (preg_grep('#^Location: \S*/admin/install/$#i', headers_list())) {
            return 'its version is not that of the code';
        }
        $message = self::thrown();

        return $message !== '' && (self::passes($message) || !self::alive()) ? $message : '';
    }

    /** Tells whether Baïkal fails in its first query; its own flag is set as soon as it is connected. */
    private static function connecting(): bool
    {
        return (bool) preg_grep('/^initDb/', array_column(debug_backtrace(DEBUG_BACKTRACE_IGNORE_ARGS), 'function'));
    }

    /** Tells whether an error is a temporary one of the database, so that the next attempt may work. */
    private static function passes(string $message): bool
    {
        if (!preg_match('/^SQLSTATE\[(\w\w)\w*\]\D*(\d*)/', $message, $state)) {
            return false;
        }

        return in_array($state[1], self::PASSING, true)
            || ($state[1] === 'HY' && in_array((int) $state[2], self::GENERAL, true));
    }

    /** Returns the error of the request; empty if there is none. */
    private static function thrown(): string
    {
        $status = http_response_code();
        foreach ($status === 500 || $status === 200 ? debug_backtrace(0) : [] as ['function' => $name, 'args' => $arguments]) {
            // Baïkal's handler for uncaught exceptions prints them as pages.
            if ($name === 'handleException' && ($arguments[0] ?? null) instanceof \Throwable) {
                return $arguments[0]->getMessage() ?: get_class($arguments[0]);
            }
            // The output comes from sabre/dav's Server.php.
            foreach ($status === 500 ? $arguments : [] as $text) {
                if (is_string($text) && preg_match('#<s:message>(.*?)</s:message>#s', $text, $match)) {
                    return htmlspecialchars_decode($match[1], ENT_NOQUOTES) ?: 'an empty message';
                }
            }
        }

        return '';
    }

    /** Tells whether Baïkal's connection works. */
    private static function alive(): bool
    {
        if (!isset($GLOBALS['DB'])) {
            return true; // unknown
        }
        try {
            $GLOBALS['DB']->getPDO()->query('SELECT 1');
        } catch (\PDOException $fault) {
            // In a failed transaction, PostgreSQL answers every query with this code.
            return $fault->getCode() === '25P02';
        } catch (\Throwable) {
            return false;
        }

        return true;
    }

    /** Returns why Baïkal has no database; Baïkal doesn't keep the reason. */
    private static function why(): string
    {
        $seconds = microtime(true) - $_SERVER['REQUEST_TIME_FLOAT'];
        if ($seconds > self::PATIENCE_SECONDS) {
            touch(self::mark());

            return sprintf('it has not answered within %d seconds', $seconds);
        }
        try {
            $section = \Symfony\Component\Yaml\Yaml::parseFile(PROJECT_PATH_CONFIG . 'baikal.yaml')['database'];
            if (self::backend($section) === 'sqlite' && !is_file($section['sqlite_file'])) {
                return "{$section['sqlite_file']} is not there";
            }
            self::connect($section);
        } catch (\Throwable $fault) {
            return $fault->getMessage();
        }

        return 'it could not be reached for a moment, or is read-only';
    }

    private static function head(): void
    {
        header_remove();
        header('HTTP/1.1 503 Service Unavailable', true, 503);
        header('Retry-After: 30');
    }

    private static function log(string $reason): void
    {
        error_log('Baikal can\'t answer: ' . self::escaped($reason) . '; clients get status 503 and try again');
    }

    /** Returns text of others as one line of printable characters, as baikalctl/output.py does. */
    private static function escaped(string $text): string
    {
        $line = preg_replace('/[\t\n\v\f\r ]+/', ' ', mb_scrub($text, 'UTF-8'));

        return preg_replace_callback(
            '/(?! )[\p{C}\p{Z}]/u',
            static fn (array $found): string => sprintf('\\u%04x', mb_ord($found[0], 'UTF-8')),
            $line,
        );
    }
}
