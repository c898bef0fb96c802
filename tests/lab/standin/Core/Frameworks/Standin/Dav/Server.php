<?php
/**
 * The DAV server behind dav.php, cal.php and card.php.
 *
 * The contract: it serves what the yaml enables. A failed login is logged with
 * failed_access_message; a request without credentials is not. Other errors are
 * logged with their trace. Errors of the database and requests outside base_uri
 * are answered with 500.
 */
declare(strict_types=1);

namespace Standin\Dav;

use Sabre\CalDAV\ICSExportPlugin;
use Sabre\CalDAV\Principal\Collection as Principals;
use Sabre\CardDAV\AddressBookRoot;
use Sabre\CardDAV\VCFExportPlugin;
use Sabre\DAV\Auth\Plugin as AuthPlugin;
use Sabre\DAV\Browser\Plugin as BrowserPlugin;
use Sabre\DAV\Exception as DavException;
use Sabre\DAV\Exception\Forbidden;
use Sabre\DAV\Exception\NotAuthenticated;
use Sabre\DAV\Server as SabreServer;
use Sabre\DAVACL\Plugin as AclPlugin;
use Standin\Config;
use Standin\Environment;

final class Server extends SabreServer
{
    /** @param string $entry the entry point's name without .php */
    public static function serve(string $entry): void
    {
        Environment::start();
        $system = Config::read()['system'];
        foreach (['cal' => 'CalDAV', 'card' => 'CardDAV'] as $name => $protocol) {
            if ($entry === $name && ($system["{$name}_enabled"] ?? null) !== true) {
                throw new \ErrorException("Baikal $protocol is disabled.");
            }
        }
        $server = self::assemble($system, Environment::$database);
        $server->setBaseUri(Environment::$basePath . "$entry.php/");
        $server->exec();
    }

    /** An error unknown to sabre would end the request half-way: it is converted to a known one. */
    public function invokeMethod($method, $uri): void
    {
        try {
            parent::invokeMethod($method, $uri);
        } catch (DavException $fault) {
            throw $fault;
        } catch (\Throwable $fault) {
            throw new DavException($fault->getMessage(), 0, $fault);
        }
    }

    public function getRequestUri(): string
    {
        try {
            return parent::getRequestUri();
        } catch (Forbidden $fault) {
            throw new DavException($fault->getMessage());
        }
    }

    /** @param array<string, mixed> $system */
    private static function assemble(array $system, \PDO $pdo): self
    {
        $principals = new Principal($pdo);
        $calendars = new Calendars($pdo);
        $addressBooks = new AddressBooks($pdo);
        $withCalendars = (bool) ($system['cal_enabled'] ?? false);
        $withContacts = (bool) ($system['card_enabled'] ?? false);

        $server = new self(array_merge(
            [new Principals($principals)],
            $withCalendars ? [new CalendarRoot($principals, $calendars)] : [],
            $withContacts ? [new AddressBookRoot($principals, $addressBooks)] : [],
        ));
        $authentication = new Authentication($pdo, (string) ($system['dav_auth_type'] ?? ''));
        $server->addPlugin(new AuthPlugin($authentication, $system['auth_realm'] ?? 'BaikalDAV'));
        $server->addPlugin(new AclPlugin());
        $server->addPlugin(new BrowserPlugin());
        if ($withCalendars) {
            $server->addPlugin(new CalendarPlugin());
            $server->addPlugin(new ICSExportPlugin());
            $server->addPlugin(new Scheduling($pdo, $calendars, (string) ($system['invite_from'] ?? '')));
        }
        if ($withContacts) {
            $server->addPlugin(new AddressBookPlugin());
            $server->addPlugin(new VCFExportPlugin());
        }
        $server->addPlugin(new Sync($calendars, $addressBooks));
        $server->subscribeEvent('exception', static fn (\Exception $fault) => self::log($fault, $system));

        return $server;
    }

    /** @param array<string, mixed> $system */
    private static function log(\Exception $fault, array $system): void
    {
        if (!$fault instanceof NotAuthenticated) {
            error_log((string) $fault);
        } elseif (!str_starts_with($fault->getMessage(), 'No ') && ($system['failed_access_message'] ?? '') !== '') {
            error_log(str_replace('%u', '(name stripped-out)', $system['failed_access_message']), 4);
        }
    }
}
