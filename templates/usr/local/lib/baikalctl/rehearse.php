<?php
// PHP runs this before each script while a release is tested with a copy of the data. Every account of the machine can reach
// its port on loopback, so requests need a secret. baikalctl makes a new one for each test (see rehearsal.py).
(static function (): void {
    $secret = (string) getenv('BAIKAL_REHEARSAL');
    if ($secret === '' || !hash_equals($secret, $_SERVER['HTTP_X_BAIKAL_REHEARSAL'] ?? '')) {
        http_response_code(404);
        exit;
    }
})();
