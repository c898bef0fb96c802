<?php
// What a client's first requests need of a release, in few lines: who it is, and objects that are stored, read and
// deleted in the database that baikal.yaml names. Baïkal does it with sabre/dav, which isn't wherever these tests run.
declare(strict_types=1);

require dirname(getcwd()) . '/vendor/autoload.php';

Standin\Environment::start();
$system = Standin\Config::read()['system'];
$pdo = Standin\Environment::$database;
$ask = static function (string $query, array $values) use ($pdo): mixed {
    $statement = $pdo->prepare($query);
    $statement->execute($values);

    return $statement->fetchColumn();
};
$name = $_SERVER['PHP_AUTH_USER'] ?? '';
$digest = md5("$name:{$system['auth_realm']}:" . ($_SERVER['PHP_AUTH_PW'] ?? ''));
if ($ask('SELECT digesta1 FROM users WHERE username = ?', [$name]) !== $digest) {
    header('WWW-Authenticate: Basic realm="sabre/dav"');
    http_response_code(401);
    exit;
}
[, $kind, $owner, $folder, $uri] = [...explode('/', $_SERVER['PATH_INFO'] ?? ''), '', '', '', ''];
[$table, $parent, $number, $data] = $kind === 'calendars'
    ? ['calendarobjects', 'calendarid', 'SELECT calendarid FROM calendarinstances', 'calendardata']
    : ['cards', 'addressbookid', 'SELECT id FROM addressbooks', 'carddata'];
$id = $ask("$number WHERE principaluri = ? AND uri = ?", ["principals/$owner", $folder]);
$where = "WHERE $parent = ? AND uri = ?";
switch ($_SERVER['REQUEST_METHOD']) {
    case 'PROPFIND':
        http_response_code($ask('SELECT count(*) FROM principals WHERE uri = ?', ["principals/$owner"]) ? 207 : 404);
        break;
    case 'PUT':
        $body = file_get_contents('php://input');
        $row = [$id, $uri, $body, md5($body), strlen($body), time()];
        $ask("INSERT INTO $table ($parent, uri, $data, etag, size, lastmodified) VALUES (?, ?, ?, ?, ?, ?)", $row);
        http_response_code(201);
        break;
    case 'GET':
        echo $ask("SELECT $data FROM $table $where", [$id, $uri]);
        break;
    case 'DELETE':
        $ask("DELETE FROM $table $where", [$id, $uri]);
        http_response_code(204);
}
