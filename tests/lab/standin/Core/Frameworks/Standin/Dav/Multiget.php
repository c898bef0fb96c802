<?php
/** For both multiget reports: a missing address is left out instead of failing the whole report. */
declare(strict_types=1);

namespace Standin\Dav;

trait Multiget
{
    /** @return bool whether an address is left to report on */
    private function leaveOutMissing(\DOMDocument $report): bool
    {
        $left = false;
        foreach (iterator_to_array($report->getElementsByTagNameNS('urn:DAV', 'href')) as $href) {
            if ($this->server->tree->nodeExists($this->server->calculateUri($href->nodeValue))) {
                $left = true;
            } else {
                $href->parentNode->removeChild($href);
            }
        }

        return $left;
    }

    private function sendNothing(): void
    {
        $this->server->httpResponse->sendStatus(207);
        $this->server->httpResponse->setHeader('Content-Type', 'application/xml; charset=utf-8');
        $this->server->httpResponse->sendBody($this->server->generateMultiStatus([]));
    }
}
