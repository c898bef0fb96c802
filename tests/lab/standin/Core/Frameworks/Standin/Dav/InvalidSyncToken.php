<?php
/** The answer to a sync token that this server never gave (RFC 6578, section 3.2). */
declare(strict_types=1);

namespace Standin\Dav;

use Sabre\DAV\Exception\Forbidden;
use Sabre\DAV\Server as SabreServer;

final class InvalidSyncToken extends Forbidden
{
    public function serialize(SabreServer $server, \DOMElement $errorNode): void
    {
        $errorNode->appendChild($errorNode->ownerDocument->createElementNS('DAV:', 'd:valid-sync-token'));
    }
}
