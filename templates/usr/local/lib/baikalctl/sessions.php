<?php
// Sessions of the admin pages are in the database if that is a server, so all machines that use it share them. With SQLite,
// PHP keeps them in files.
//
// There are no locks: if two requests change one session at once, the last one wins. A request that changes nothing writes
// only the time, so a slow page doesn't undo a login. The table has no session IDs, which would allow a login, only their
// hashes.
//
// PHP unserialises the data, and the data has whether the administrator is logged in. So each row begins with an HMAC of its
// ID and data, whose key isn't in the database. A row that was changed, or copied to another ID, is ignored. The key is
// derived from the hash of the administrator's password, the only secret that all machines with this database share. The
// time of expiry is not authenticated, so that updateTimestamp() needs no data.

namespace Baikalctl;

final class Sessions implements \SessionHandlerInterface, \SessionIdInterface, \SessionUpdateTimestampHandlerInterface
{
    private const WRITE = [
        'mysql' => 'REPLACE INTO baikalctl_sessions (id, data, expires) VALUES (?, ?, ?)',
        'pgsql' => 'INSERT INTO baikalctl_sessions (id, data, expires) VALUES (?, ?, ?)'
            . ' ON CONFLICT (id) DO UPDATE SET data = EXCLUDED.data, expires = EXCLUDED.expires',
    ];

    private const CODE_BYTES = 32;

    private ?\PDO $pdo = null;

    /** @param array<string, mixed> $section of baikal.yaml: the database */
    private function __construct(private array $section, #[\SensitiveParameter] private string $secret)
    {
    }

    /** Stores this request's session in the database of the release at $root. */
    public static function keep(string $root): void
    {
        try {
            require "$root/vendor/autoload.php"; // Baïkal does the same next
            $found = \Symfony\Component\Yaml\Yaml::parseFile(getenv('BAIKAL_PATH_CONFIG') . 'baikal.yaml');
        } catch (\Throwable) {
            return; // Baïkal reports this error
        }
        $section = $found['database'] ?? null;
        // Without an administrator's password there is no login, and sessions end with the request.
        $secret = (string) ($found['system']['admin_passwordhash'] ?? '') ?: random_bytes(self::CODE_BYTES);
        if (is_array($section) && Away::backend($section) !== 'sqlite') {
            session_set_save_handler(new self($section, hash_hmac('sha256', 'baikalctl_sessions', $secret, true)));
        }
    }

    public function open(string $path, string $name): bool
    {
        return true;
    }

    public function close(): bool
    {
        $this->pdo = null;

        return true;
    }

    public function create_sid(): string
    {
        return bin2hex(random_bytes(24));
    }

    public function validateId(string $id): bool
    {
        return $this->found($id) !== null;
    }

    public function read(string $id): string
    {
        return $this->found($id) ?? '';
    }

    public function write(string $id, string $data): bool
    {
        $row = base64_encode($this->code($id, $data) . $data);

        return $this->did(self::WRITE[Away::backend($this->section)], self::key($id), $row, self::until());
    }

    public function updateTimestamp(string $id, string $data): bool
    {
        return $this->did('UPDATE baikalctl_sessions SET expires = ? WHERE id = ?', self::until(), self::key($id));
    }

    public function destroy(string $id): bool
    {
        return $this->did('DELETE FROM baikalctl_sessions WHERE id = ?', self::key($id));
    }

    public function gc(int $max_lifetime): int|false
    {
        return $this->ask('DELETE FROM baikalctl_sessions WHERE expires < ?', time())->rowCount();
    }

    /** Returns the data of a session, or null if there is no authentic row. */
    private function found(string $id): ?string
    {
        $query = 'SELECT data FROM baikalctl_sessions WHERE id = ? AND expires >= ?';
        $row = $this->ask($query, self::key($id), time())->fetchColumn();
        // PostgreSQL returns bytes as a stream.
        $bytes = (string) base64_decode(is_resource($row) ? stream_get_contents($row) : (string) $row);
        $data = substr($bytes, self::CODE_BYTES);

        return hash_equals($this->code($id, $data), substr($bytes, 0, self::CODE_BYTES)) ? $data : null;
    }

    private function code(string $id, string $data): string
    {
        return hash_hmac('sha256', self::key($id) . $data, $this->secret, true);
    }

    private function did(string $query, string|int ...$values): bool
    {
        $this->ask($query, ...$values);

        return true;
    }

    /** Queries the database. If it can't be reached, the request ends. */
    private function ask(string $query, string|int ...$values): \PDOStatement
    {
        try {
            $this->pdo ??= Away::connect($this->section);
            $statement = $this->pdo->prepare($query);
            $statement->execute($values);

            return $statement;
        } catch (\Throwable $fault) { // also a warning that Baïkal converts to an exception
            Away::because($fault->getMessage());
        }
    }

    private static function key(string $id): string
    {
        return hash('sha256', $id);
    }

    private static function until(): int
    {
        return time() + (int) ini_get('session.gc_maxlifetime');
    }
}
