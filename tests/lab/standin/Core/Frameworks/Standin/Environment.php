<?php
/**
 * What happens before any page or DAV request is answered.
 *
 * The contract, in Baïkal's order: BAIKAL_PATH_CONFIG and BAIKAL_PATH_SPECIFIC
 * are the directories of state, with a final slash. Before 0.10.0, state is next
 * to the code. The base address is base_uri, or else guessed from the request;
 * Host and X-Forwarded-Proto are not checked. Every request opens a session.
 * Without a yaml file, a configured_version or an admin_passwordhash, and when
 * the code is newer than configured_version, every request is redirected to the
 * installer. A yaml file that can't be parsed or written, and a missing
 * database, are an uncaught exception, printed with status 200.
 */
declare(strict_types=1);

namespace Standin;

final class Environment
{
    public static string $root;
    public static string $config;
    public static string $specific;
    /** The address path under which html/ is served, with slashes around it. */
    public static string $basePath;
    /** The same with scheme and host; for a deep DAV address it is as wrong as Baïkal's. */
    public static string $baseUrl;
    public static ?\PDO $database = null;

    /** @param string $context the entry point's directory below html/, '' or ending in a slash */
    public static function start(string $context = ''): void
    {
        ini_set('session.cookie_httponly', '1');
        ini_set('log_errors', '1');
        ini_set('display_errors', '0');
        // The libraries are older than PHP 8: their deprecation warnings must not fill the log.
        error_reporting(E_ALL & ~E_DEPRECATED & ~E_USER_DEPRECATED & ~E_COMPILE_WARNING);

        if (isset($_SERVER['REDIRECT_HTTP_AUTHORIZATION'])) { // Where Apache rewrote the address.
            $_SERVER['HTTP_AUTHORIZATION'] = $_SERVER['REDIRECT_HTTP_AUTHORIZATION'];
        }
        self::$root = dirname((string) getcwd(), 1 + substr_count($context, '/')) . '/';
        require_once self::$root . 'Core/Distrib.php';
        self::$config = self::path('BAIKAL_PATH_CONFIG', 'config/');
        self::$specific = self::path('BAIKAL_PATH_SPECIFIC', 'Specific/');

        $config = self::configurationIfReadable();
        self::findAddresses($context, (string) ($config['system']['base_uri'] ?? ''));
        if (PHP_SAPI !== 'cli') {
            session_start();
            $_SESSION['CSRF_TOKEN'] ??= bin2hex(random_bytes(20));
        }
        date_default_timezone_set('Europe/Paris');
        $installing = $context === 'admin/install/';
        $version = $config['system']['configured_version'] ?? null;
        if ($config !== null && !($installing && ($version === null || $version === BAIKAL_VERSION))) {
            // A file without that section, such as an empty one, ends here in a 500.
            self::$database = Database::open($config['database']);
            // The contract: other code in the same request finds the connection here.
            $GLOBALS['DB'] = new class {
                public function getPDO(): \PDO
                {
                    return Environment::$database;
                }
            };
        }
        if (!is_writable(sys_get_temp_dir())) {
            exit('<strong>Baikal Fatal Error</strong>: The system temp directory is not writable.');
        }
        set_exception_handler(static function (\Throwable $fault): void {
            echo "<pre>$fault</pre>";
        });
        self::check($installing);
    }

    private static function check(bool $installing): void
    {
        if (!file_exists(Config::file())) {
            self::sendToInstaller($installing);

            return;
        }
        $system = Config::read()['system'] ?? [];
        date_default_timezone_set((string) ($system['timezone'] ?? 'Europe/Paris'));
        $version = $system['configured_version'] ?? null;
        $current = $version !== null && version_compare(BAIKAL_VERSION, (string) $version) <= 0;
        if (!$current || empty($system['admin_passwordhash'])) {
            self::sendToInstaller($installing);
        }
        if ($current && self::$database === null && !$installing) {
            throw new \Exception('<strong>Fatal error</strong>: no connection to a database is available.');
        }
        if ($current && !is_writable(Config::file())) {
            throw new \Exception('config/baikal.yaml is not writable by the PHP user.');
        }
    }

    private static function sendToInstaller(bool $installing): void
    {
        if (!$installing) {
            header('Location: ' . self::$baseUrl . 'admin/install/');
            exit;
        }
    }

    private static function path(string $variable, string $default): string
    {
        $given = Config::isOlderThan('0.10.0') ? false : getenv($variable);

        return $given === false ? self::$root . $default : $given;
    }

    /** @return array<string, array<string, mixed>>|null */
    private static function configurationIfReadable(): ?array
    {
        try {
            return is_readable(Config::file()) ? Config::read() : null;
        } catch (\UnexpectedValueException $fault) {
            error_log("Error reading baikal.yaml file : {$fault->getMessage()}");

            return null;
        }
    }

    private static function findAddresses(string $context, string $baseUri): void
    {
        $forwarded = $_SERVER['HTTP_X_FORWARDED_PROTO'] ?? '';
        $secure = !in_array($_SERVER['HTTPS'] ?? '', ['', 'off'], true) || (int) ($_SERVER['SERVER_PORT'] ?? 0) === 443;
        $origin = ($forwarded ?: ($secure ? 'https' : 'http')) . '://' . $_SERVER['HTTP_HOST'];
        if ($baseUri !== '') {
            self::$basePath = '/' . ltrim(rtrim($baseUri, '/') . '/', '/');
            self::$baseUrl = $origin . self::$basePath;

            return;
        }
        $script = substr($_SERVER['SCRIPT_FILENAME'], strlen($_SERVER['DOCUMENT_ROOT']));
        self::$basePath = '/' . ltrim(self::without(rtrim(dirname($script), '/') . '/', $context), '/');
        $requested = explode('?', $_SERVER['REQUEST_URI'])[0];
        if (str_ends_with($requested, basename($script))) {
            $requested = substr($requested, 0, -strlen(basename($script)));
        }
        self::$baseUrl = $origin . self::without($requested, $context);
    }

    /** Removes an entry point's directory from a path, by its length. */
    private static function without(string $path, string $context): string
    {
        return rtrim(substr($path, 0, -strlen("/$context")), '/') . '/';
    }
}
