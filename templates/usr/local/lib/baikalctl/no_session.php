<?php
// Baïkal starts a session for every request. A DAV client needs none: it would leave a file behind each time, and a
// client that keeps cookies would be served one request at a time, because PHP locks the file.
if (preg_match('#/(?:dav|cal|card)\.php$#', $_SERVER['SCRIPT_FILENAME'] ?? '')) {
    ini_set('session.use_cookies', '0');
    ini_set('session.use_strict_mode', '0');
    session_set_save_handler(new class implements SessionHandlerInterface {
        public function open(string $path, string $name): bool { return true; }
        public function close(): bool { return true; }
        public function read(string $id): string { return ''; }
        public function write(string $id, string $data): bool { return true; }
        public function destroy(string $id): bool { return true; }
        public function gc(int $max_lifetime): int|false { return 0; }
    }, false);
}
