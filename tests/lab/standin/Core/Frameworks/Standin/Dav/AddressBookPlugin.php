<?php
/** CardDAV, with a multiget that survives missing cards and the content type that vCards have by now. */
declare(strict_types=1);

namespace Standin\Dav;

use Sabre\CardDAV\Plugin;

final class AddressBookPlugin extends Plugin
{
    use Multiget;

    public function addressbookMultiGetReport($dom): void
    {
        $this->leaveOutMissing($dom) ? parent::addressbookMultiGetReport($dom) : $this->sendNothing();
    }

    public function afterGetProperties($uri, &$properties): void
    {
        if (isset($properties[200]['{DAV:}getcontenttype'])) {
            $type = &$properties[200]['{DAV:}getcontenttype'];
            $type = str_replace('text/x-vcard', 'text/vcard', $type);
        }
    }
}
