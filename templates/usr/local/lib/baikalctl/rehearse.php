<?php
// Before each script of a release that serves a copy of the data to try it out, on a port of loopback, which every account of
// the machine can reach: only who knows the secret is answered. baikalctl makes one for each time (see rehearsal.py).
(static function (): void {
    $secret = (string) getenv('BAIKAL_REHEARSAL');
    if ($secret === '' || !hash_equals($secret, $_SERVER['HTTP_X_BAIKAL_REHEARSAL'] ?? '')) {
        http_response_code(404);
        exit;
    }
})();
