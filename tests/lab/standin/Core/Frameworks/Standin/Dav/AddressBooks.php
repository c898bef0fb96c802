<?php
/** Address books and cards in the database; cards get etag (md5) and size. */
declare(strict_types=1);

namespace Standin\Dav;

use Sabre\CardDAV\Backend\PDO;
use Sabre\CardDAV\Plugin as CardDav;
use Sabre\CardDAV\Property\SupportedAddressData;
use Sabre\DAV\Exception\BadRequest;

final class AddressBooks extends PDO
{
    use ChangeLog;

    private const COLUMNS = [
        '{DAV:}displayname' => 'displayname',
        '{' . CardDav::NS_CARDDAV . '}addressbook-description' => 'description',
    ];

    public function getAddressBooksForUser($principalUri): array
    {
        $rows = $this->run('SELECT * FROM addressbooks WHERE principaluri = ?', [$principalUri]);

        return array_map(static fn (array $row): array => [
            'id' => (int) $row['id'],
            'uri' => $row['uri'],
            'principaluri' => $row['principaluri'],
            Sync::COLLECTION => (int) $row['id'],
            Sync::TOKEN => (int) $row['synctoken'],
            '{http://calendarserver.org/ns/}getctag' => $row['synctoken'],
            '{' . CardDav::NS_CARDDAV . '}supported-address-data' => new SupportedAddressData(),
        ] + array_map(static fn (string $column): ?string => $row[$column], self::COLUMNS), $rows->fetchAll(\PDO::FETCH_ASSOC));
    }

    public function createAddressBook($principalUri, $url, array $properties): void
    {
        if ($unknown = array_diff_key($properties, self::COLUMNS)) {
            throw new BadRequest('Unknown property: ' . array_key_first($unknown));
        }
        $values = array_map(static fn (string $property): mixed => $properties[$property] ?? null, array_flip(self::COLUMNS));
        $this->run(
            'INSERT INTO addressbooks (uri, principaluri, displayname, description, synctoken) VALUES (?, ?, ?, ?, 1)',
            [$url, $principalUri, $values['displayname'], $values['description']],
        );
    }

    public function updateAddressBook($addressBookId, array $mutations): bool
    {
        if (array_diff_key($mutations, self::COLUMNS)) {
            return false;
        }
        foreach ($mutations as $property => $value) {
            $this->run('UPDATE addressbooks SET ' . self::COLUMNS[$property] . ' = ? WHERE id = ?', [$value, $addressBookId]);
        }
        $this->record('addressbook', $addressBookId, '', Change::Modified);

        return true;
    }

    public function deleteAddressBook($addressBookId): void
    {
        foreach (['cards', 'addressbookchanges'] as $table) {
            $this->run("DELETE FROM $table WHERE addressbookid = ?", [$addressBookId]);
        }
        $this->run('DELETE FROM addressbooks WHERE id = ?', [$addressBookId]);
    }

    public function getCards($addressbookId): array
    {
        $rows = $this->run('SELECT uri, lastmodified, etag, size FROM cards WHERE addressbookid = ?', [$addressbookId]);

        return array_map($this->card(...), $rows->fetchAll(\PDO::FETCH_ASSOC));
    }

    public function getCard($addressBookId, $cardUri): array|false
    {
        $row = $this->run('SELECT * FROM cards WHERE addressbookid = ? AND uri = ?', [$addressBookId, $cardUri])
            ->fetch(\PDO::FETCH_ASSOC);

        return $row ? $this->card($row) : false;
    }

    public function createCard($addressBookId, $cardUri, $cardData): string
    {
        $etag = md5($cardData);
        $this->run(
            'INSERT INTO cards (addressbookid, uri, carddata, lastmodified, etag, size) VALUES (?, ?, ?, ?, ?, ?)',
            [$addressBookId, $cardUri, $cardData, time(), $etag, strlen($cardData)],
            2,
        );
        $this->record('addressbook', $addressBookId, $cardUri, Change::Added);

        return "\"$etag\"";
    }

    public function updateCard($addressBookId, $cardUri, $cardData): string
    {
        $etag = md5($cardData);
        $this->run(
            'UPDATE cards SET carddata = ?, lastmodified = ?, etag = ?, size = ? WHERE addressbookid = ? AND uri = ?',
            [$cardData, time(), $etag, strlen($cardData), $addressBookId, $cardUri],
            0,
        );
        $this->record('addressbook', $addressBookId, $cardUri, Change::Modified);

        return "\"$etag\"";
    }

    public function deleteCard($addressBookId, $cardUri): bool
    {
        $gone = $this->run('DELETE FROM cards WHERE addressbookid = ? AND uri = ?', [$addressBookId, $cardUri])->rowCount();
        $this->record('addressbook', $addressBookId, $cardUri, Change::Deleted);

        return $gone === 1;
    }

    /** @return array{int, array<string, Change>} */
    public function changesSince(int $addressBook, ?int $token): array
    {
        return $this->changes('addressbook', 'cards', $addressBook, $token);
    }

    private function card(array $row): array
    {
        return ['etag' => "\"{$row['etag']}\"", 'size' => (int) $row['size']] + $row;
    }
}
