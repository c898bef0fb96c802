<?php
// PHP runs this before each script of Baïkal: maintenance mode, sessions, and the answer if the database can't be reached.

namespace Baikalctl;

require __DIR__ . '/away.php';

// A slow request may have started before maintenance mode. Its data must not get lost in a rollback.
(static function (): void {
    $folder = dirname((string) getenv('BAIKAL_PATH_SPECIFIC')) . '/maintenance';
    $probe = $_SERVER['HTTP_X_BAIKAL_PROBE'] ?? '';
    if (is_file("$folder/on") && !(preg_match('/^[0-9a-f]{32}\z/', $probe) && is_file("$folder/$probe"))) {
        Away::say();
    }
})();

// Baïkal starts a session for every request. A DAV client needs none: each request would leave a file, and
// requests of a client that keeps cookies would run one at a time, because PHP locks the file.
if (preg_match('#^(.+)/html/(?:dav|cal|card)\.php$#', $_SERVER['SCRIPT_FILENAME'] ?? '', $found)) {
    // Answers and errors don't contain the version of sabre/dav. Each of these requests loads this class anyway.
    require "$found[1]/vendor/autoload.php";
    \Sabre\DAV\Server::$exposeVersion = false;
    unset($found);
    ini_set('session.use_cookies', '0');
    ini_set('session.use_strict_mode', '0');
    session_set_save_handler(new class implements \SessionHandlerInterface {
        public function open(string $path, string $name): bool { return true; }
        public function close(): bool { return true; }
        public function read(string $id): string { return ''; }
        public function write(string $id, string $data): bool { return true; }
        public function destroy(string $id): bool { return true; }
        public function gc(int $max_lifetime): int|false { return 0; }
    }, false);
} elseif (preg_match('#^(.+)/html/(?:admin/)?index\.php$#', $_SERVER['SCRIPT_FILENAME'] ?? '', $found)) {
    // With TLS, also if a proxy terminates it: browsers send a cookie with this prefix over TLS only, and accept it from this
    // host only (RFC 6265bis, section 4.1.3.2).
    if (($_SERVER['HTTPS'] ?? '') === 'on') {
        ini_set('session.cookie_secure', '1');
        ini_set('session.name', '__Host-baikal');
    }
    require __DIR__ . '/sessions.php';
    Sessions::keep($found[1]);
    unset($found);
    // Baïkal keeps the session ID at login (BaikalAdmin/Core/Auth.php), so an attacker could have set it before. Change it.
    // The answer to a login is a redirect without a body, so the cookie can still be sent.
    register_shutdown_function(static function (): void {
        if (isset($_POST['auth'], $_SESSION['baikaladminauth']) && !headers_sent()) {
            session_regenerate_id(true);
        }
    });
}

Away::watch();
