<?php
/**
 * The sync-collection report (RFC 6578), which the old library lacks.
 *
 * The contract: tokens are addresses that end in the collection's synctoken.
 */
declare(strict_types=1);

namespace Standin\Dav;

use Sabre\CalDAV\ICalendar;
use Sabre\CardDAV\IAddressBook;
use Sabre\DAV\Exception\BadRequest;
use Sabre\DAV\Exception\ReportNotSupported;
use Sabre\DAV\INode;
use Sabre\DAV\Server as SabreServer;
use Sabre\DAV\ServerPlugin;
use Sabre\DAV\URLUtil;
use Sabre\DAV\XMLUtil;

final class Sync extends ServerPlugin
{
    public const PREFIX = 'http://sabre.io/ns/sync/';
    /** The token's number, among a collection's properties. */
    public const TOKEN = '{http://sabredav.org/ns}sync-token';
    /** The collection's number in its table, likewise. */
    public const COLLECTION = '{http://sabredav.org/ns}collection-id';
    private const REPORT = '{DAV:}sync-collection';

    private SabreServer $server;

    public function __construct(private readonly Calendars $calendars, private readonly AddressBooks $addressBooks)
    {
    }

    public function initialize(SabreServer $server): void
    {
        $this->server = $server;
        $server->protectedProperties[] = '{DAV:}sync-token';
        $server->subscribeEvent('report', $this->report(...));
        $server->subscribeEvent('afterGetProperties', $this->addToken(...));
    }

    /** @return list<string> */
    public function getSupportedReportSet($uri): array
    {
        return self::isSynced($this->server->tree->getNodeForPath($uri)) ? [self::REPORT] : [];
    }

    private static function isSynced(INode $node): bool
    {
        return $node instanceof ICalendar || $node instanceof IAddressBook;
    }

    private function addToken(string $path, array &$properties, INode $node): void
    {
        if (self::isSynced($node) && array_key_exists('{DAV:}sync-token', $properties[404] ?? [])) {
            unset($properties[404]['{DAV:}sync-token']);
            $properties[200]['{DAV:}sync-token'] = self::PREFIX . $node->getProperties([self::TOKEN])[self::TOKEN];
        }
    }

    /** @return false|null false when the report is answered, which ends the event */
    private function report(string $name, \DOMDocument $dom, string $uri): ?bool
    {
        if ($name !== self::REPORT) {
            return null;
        }
        $node = $this->server->tree->getNodeForPath($uri);
        if (!self::isSynced($node)) {
            throw new ReportNotSupported();
        }
        $query = new \DOMXPath($dom);
        $query->registerNamespace('d', 'urn:DAV');
        if ($query->query('/d:sync-collection/d:sync-token')->length === 0) {
            throw new BadRequest('A sync-collection report needs a sync-token element');
        }
        $given = trim($query->evaluate('string(/d:sync-collection/d:sync-token)'));
        if ($given !== '' && !preg_match('~^' . self::PREFIX . '\d+$~', $given)) {
            throw new InvalidSyncToken('Invalid or unknown sync token');
        }
        $backend = $node instanceof ICalendar ? $this->calendars : $this->addressBooks;
        [$token, $changes] = $backend->changesSince(
            $node->getProperties([self::COLLECTION])[self::COLLECTION],
            $given === '' ? null : (int) substr($given, strlen(self::PREFIX)),
        );
        $this->send($uri, $token, $changes, array_keys(XMLUtil::parseProperties($dom->firstChild)));

        return false;
    }

    /**
     * @param array<string, Change> $changes
     * @param list<string>          $wanted  properties
     */
    private function send(string $uri, int $token, array $changes, array $wanted): void
    {
        $present = [];
        $gone = [];
        foreach ($changes as $name => $change) {
            $path = "$uri/$name";
            if ($change === Change::Deleted || !$this->server->tree->nodeExists($path)) {
                $gone[] = $path;
            } else {
                $present[] = $this->server->getPropertiesForPath($path, $wanted)[0];
            }
        }
        $document = new \DOMDocument();
        $document->loadXML($this->server->generateMultiStatus($present));
        foreach ($gone as $path) {
            $response = $document->documentElement->appendChild($document->createElementNS('DAV:', 'd:response'));
            $href = $this->server->getBaseUri() . URLUtil::encodePath($path);
            $response->appendChild($document->createElementNS('DAV:', 'd:href'))->nodeValue = $href;
            $response->appendChild($document->createElementNS('DAV:', 'd:status', 'HTTP/1.1 404 Not Found'));
        }
        $document->documentElement->appendChild($document->createElementNS('DAV:', 'd:sync-token', self::PREFIX . $token));
        $this->server->httpResponse->sendStatus(207);
        $this->server->httpResponse->setHeader('Content-Type', 'application/xml; charset=utf-8');
        $this->server->httpResponse->sendBody($document->saveXML());
    }
}
