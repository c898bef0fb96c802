<?php
// Run Baïkal's upgrade, a page of its web installer, without a web server: php migrate.php RELEASE, with the paths of the
// data in BAIKAL_PATH_CONFIG and BAIKAL_PATH_SPECIFIC. Prints the page's text, which lists what was done.
$release = $argv[1];
$page = '/admin/install/index.php';
$_SERVER = [
    'HTTP_HOST' => 'localhost',
    'SERVER_NAME' => 'localhost',
    'SERVER_PORT' => '80',
    'REQUEST_METHOD' => 'GET',
    'REQUEST_URI' => '/admin/install/',
    'DOCUMENT_ROOT' => "$release/html",
    'SCRIPT_FILENAME' => "$release/html$page",
    'SCRIPT_NAME' => $page,
] + $_SERVER;
$_GET = ['upgradeConfirmed' => '1'];
$_SESSION = ['CSRF_TOKEN' => ''];
ob_start(static fn (string $html): string => html_entity_decode(strip_tags($html)));
chdir(dirname($_SERVER['SCRIPT_FILENAME']));
require $_SERVER['SCRIPT_FILENAME'];
