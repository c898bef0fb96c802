<?php
// Where the database is away, Baïkal prints a sentence or a stack trace with status 200, which clients take for an
// answer; sabre/dav says 500 and what the driver said. Clients are to come again instead, so this looks at each request
// when its headers are about to go out, and makes them 503; what is printed then, nginx doesn't pass on. The answer is
// not told by the words: whether Baïkal has a database, what it is handling, and whether its connection still answers.
// Nothing is buffered: an answer may be as large as the memory.

namespace Baikalctl;

final class Away
{
    /**
     * SQLSTATE's classes of what is not the request's fault: connection, rolled back, tables or rights that are missing,
     * no room, in use, shut down, input and output, interrupted.
     */
    private const PASSING = ['08', '40', '42', '53', '55', '57', '58', '70'];
    /** Of a general error: SQLite's no table, busy, locked, read-only, I/O, damaged, full, can't open, no database … */
    private const GENERAL = [
        1, 5, 6, 8, 10, 11, 13, 14, 26,
        // … and MySQL's full, out of connections, shutting down, network, lock, read-only, killed and gone away.
        1021, 1040, 1053, 1114, 1158, 1159, 1160, 1161, 1203, 1205, 1290, 1836, 1927, 2002, 2003, 2006, 2013, 2055, 4031,
    ];
    private const PATIENCE_SECONDS = 3;
    /** How long nobody tries, where trying takes longer than that. */
    private const REST_SECONDS = 15;

    /** Whether this request has been looked at. */
    private static bool $seen = false;
    /** Whether this request is the one that tries for all others. */
    private static bool $tries = false;

    /**
     * Looks at this request before its answer goes out.
     *
     * A database that answers nothing at all holds each request for as long as Baïkal waits for a connection, 30 seconds
     * mostly, until no worker is left. So after the first of them, others are not let to it, but for one now and then.
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
        // Where nothing is printed, headers go out when PHP has destroyed Baïkal's database already.
        register_shutdown_function(self::look(...));
    }

    /** Ends the request: 503. */
    public static function say(): never
    {
        self::$seen = true;
        self::head();
        exit;
    }

    /** Ends the request because of a database, and has the reason in the log. */
    public static function because(string $reason): never
    {
        self::log($reason);
        if (self::$seen) {
            exit; // the answer is out already
        }
        self::say();
    }

    /**
     * Returns a connection such as Baïkal's own to the database of that section of baikal.yaml, in less time.
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
            // PHP is about to give it another name.
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
            self::found();
        } else {
            self::log($reason);
            self::head();
        }
    }

    /** Lets everybody to the database again, if this request has tried for them. */
    private static function found(): void
    {
        if (self::$tries) {
            @unlink(self::mark());
        }
    }

    private static function mark(): string
    {
        return ini_get('session.save_path') . '/away';
    }

    /** Returns why this request has no answer, or nothing where it has one, of whatever kind. */
    private static function reason(): string
    {
        if (method_exists('\Flake\Framework', 'isDBInitialized')
            && (!\Flake\Framework::isDBInitialized() || self::connecting())) {
            return self::why();
        }
        // Its upgrade is due: all addresses lead to the installer, and what is there leads nowhere.
        if (preg_grep('#^Location: \S*/admin/install/$#i', headers_list())) {
            return 'its version is not that of the code';
        }
        $message = self::thrown();

        return $message !== '' && (self::passes($message) || !self::alive()) ? $message : '';
    }

    /** Tells whether Baïkal is giving up on its first query: it counts the database as there once it is connected. */
    private static function connecting(): bool
    {
        return (bool) preg_grep('/^initDb/', array_column(debug_backtrace(DEBUG_BACKTRACE_IGNORE_ARGS), 'function'));
    }

    /** Tells whether a failure is one of the database's that is nobody's fault, and might be none the next time. */
    private static function passes(string $message): bool
    {
        if (!preg_match('/^SQLSTATE\[(\w\w)\w*\]\D*(\d*)/', $message, $said)) {
            return false;
        }

        return in_array($said[1], self::PASSING, true)
            || ($said[1] === 'HY' && in_array((int) $said[2], self::GENERAL, true));
    }

    /** Returns what the request has failed with, or nothing if it hasn't. */
    private static function thrown(): string
    {
        $status = http_response_code();
        foreach ($status === 500 || $status === 200 ? debug_backtrace(0) : [] as ['function' => $name, 'args' => $given]) {
            // Baïkal's handler of exceptions that nobody has caught prints them as if they were pages.
            if ($name === 'handleException' && ($given[0] ?? null) instanceof \Throwable) {
                return $given[0]->getMessage() ?: get_class($given[0]);
            }
            // What is being printed is what sabre/dav's Server.php has written.
            foreach ($status === 500 ? $given : [] as $text) {
                if (is_string($text) && preg_match('#<s:message>(.*?)</s:message>#s', $text, $found)) {
                    return htmlspecialchars_decode($found[1], ENT_NOQUOTES) ?: 'nothing is said';
                }
            }
        }

        return '';
    }

    /** Tells whether the connection that Baïkal has is of use. */
    private static function alive(): bool
    {
        if (!isset($GLOBALS['DB'])) {
            return true; // for all that can be known
        }
        try {
            $GLOBALS['DB']->getPDO()->query('SELECT 1');
        } catch (\PDOException $fault) {
            // In a transaction that has failed, PostgreSQL answers nothing else.
            return $fault->getCode() === '25P02';
        } catch (\Throwable) {
            return false;
        }

        return true;
    }

    /** Returns why Baïkal has no database; it doesn't keep that itself. */
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

        return 'it was away for a moment, or may not be written';
    }

    private static function head(): void
    {
        header_remove();
        header('HTTP/1.1 503 Service Unavailable', true, 503);
        header('Retry-After: 30');
    }

    private static function log(string $reason): void
    {
        error_log('Baikal can\'t answer: ' . self::escaped($reason) . '; clients are told to come again');
    }

    /** Returns what others wrote as one line of printable characters, as baikalctl/output.py does. */
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
