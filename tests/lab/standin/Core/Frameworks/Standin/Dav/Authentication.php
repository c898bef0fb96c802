<?php
/**
 * Basic, Digest or the web server's own login, as dav_auth_type says.
 *
 * The contract: the same users.digesta1, md5(name:realm:password), serves Basic
 * and Digest. No credentials, or those of the other kind, are not a failed login.
 * The realm of Basic's challenge differs from auth_realm. An anonymous request
 * for a missing resource is answered as such.
 */
declare(strict_types=1);

namespace Standin\Dav;

use Sabre\DAV\Auth\Backend\BackendInterface;
use Sabre\DAV\Exception\NotAuthenticated;
use Sabre\DAV\Exception\NotFound;
use Sabre\DAV\Server as SabreServer;
use Sabre\HTTP\BasicAuth;
use Sabre\HTTP\DigestAuth;

final class Authentication implements BackendInterface
{
    /** Methods that create their target. */
    private const MAKING = ['PUT', 'MKCOL', 'MKCALENDAR'];

    private ?string $user = null;

    public function __construct(private readonly \PDO $pdo, private readonly string $type)
    {
    }

    public function getCurrentUser(): ?string
    {
        return $this->user;
    }

    public function authenticate(SabreServer $server, $realm): bool
    {
        $this->user = match ($this->type) {
            'Basic' => $this->basic($server, $realm),
            'Apache' => $_SERVER['REMOTE_USER'] ?? $_SERVER['PHP_AUTH_USER']
                ?? throw self::refusal($server, 'The web server has authenticated no user'),
            default => $this->digest($server, $realm),
        };

        return true;
    }

    private function basic(SabreServer $server, string $realm): string
    {
        $auth = new BasicAuth();
        $auth->setHTTPRequest($server->httpRequest);
        $given = $auth->getUserPass();
        if (is_array($given) && count($given) === 2 && $this->knows($given[0], md5("$given[0]:$realm:$given[1]"))) {
            return $given[0];
        }
        $server->httpResponse->setHeader('WWW-Authenticate', 'Basic realm="sabre/dav", charset="UTF-8"');
        throw self::refusal($server, $given
            ? 'Username or password was incorrect'
            : "No 'Authorization: Basic' header found.");
    }

    private function digest(SabreServer $server, string $realm): string
    {
        $auth = new DigestAuth();
        $auth->setHTTPRequest($server->httpRequest);
        $auth->setHTTPResponse($server->httpResponse);
        $auth->setRealm($realm);
        $auth->init();
        $user = $auth->getUsername();
        $hash = $user ? $this->hashOf($user) : null;
        if ($hash !== null && $auth->validateA1($hash)) {
            return $user;
        }
        $auth->requireLogin();
        throw self::refusal($server, $user
            ? 'Username or password was incorrect'
            : "No 'Authorization: Digest' header found.");
    }

    private static function refusal(SabreServer $server, string $reason): NotAuthenticated|NotFound
    {
        $making = in_array($server->httpRequest->getMethod(), self::MAKING, true);

        return $making || $server->tree->nodeExists($server->getRequestUri())
            ? new NotAuthenticated($reason)
            : new NotFound('Not found');
    }

    private function knows(string $user, string $hash): bool
    {
        $stored = $this->hashOf($user);

        return $stored !== null && hash_equals($stored, $hash);
    }

    private function hashOf(string $user): ?string
    {
        $statement = $this->pdo->prepare('SELECT digesta1 FROM users WHERE username = ?');
        $statement->execute([$user]);

        return $statement->fetchColumn() ?: null;
    }
}
