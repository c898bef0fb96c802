<?php
/**
 * Calendars in the database.
 *
 * The contract: a calendar's objects belong to calendars.id; a user's view of it
 * is a row in calendarinstances. So a shared calendar is in the sharee's home
 * too, and deleting it there removes only the share. calendarobjects get
 * etag (md5), size, component, first and last occurrence and uid.
 */
declare(strict_types=1);

namespace Standin\Dav;

use Sabre\CalDAV\Backend\PDO;
use Sabre\CalDAV\Plugin as CalDav;
use Sabre\CalDAV\Property\ScheduleCalendarTransp;
use Sabre\CalDAV\Property\SupportedCalendarComponentSet;
use Sabre\VObject\Reader;

final class Calendars extends PDO
{
    use ChangeLog;

    public const TRANSPARENCY = '{' . CalDav::NS_CALDAV . '}schedule-calendar-transp';
    /** Set when the stored data differs from the client's, so that the answer has no ETag. */
    public bool $altered = false;

    private const COMPONENTS = '{' . CalDav::NS_CALDAV . '}supported-calendar-component-set';

    /** A calendar's id, for sabre, is the pair of calendars.id and calendarinstances.id. */
    public function getCalendarsForUser($principalUri): array
    {
        $rows = $this->run(
            'SELECT i.*, c.synctoken, c.components
             FROM calendarinstances i JOIN calendars c ON c.id = i.calendarid
             WHERE i.principaluri = ? ORDER BY i.calendarorder, i.id',
            [$principalUri],
        );
        $calendars = [];
        foreach ($rows->fetchAll(\PDO::FETCH_ASSOC) as $row) {
            $calendar = [
                'id' => [(int) $row['calendarid'], (int) $row['id']],
                'uri' => $row['uri'],
                'principaluri' => $row['principaluri'],
                'access' => Access::from((int) $row['access']),
                Sync::COLLECTION => (int) $row['calendarid'],
                Sync::TOKEN => (int) $row['synctoken'],
                '{' . CalDav::NS_CALENDARSERVER . '}getctag' => Sync::PREFIX . $row['synctoken'],
                self::COMPONENTS => new SupportedCalendarComponentSet(array_filter(explode(',', $row['components']))),
                self::TRANSPARENCY => new ScheduleCalendarTransp($row['transparent'] ? 'transparent' : 'opaque'),
            ];
            foreach ($this->propertyMap as $property => $column) {
                $calendar[$property] = $row[$column];
            }
            $calendars[] = $calendar;
        }

        return $calendars;
    }

    public function createCalendar($principalUri, $calendarUri, array $properties): void
    {
        $components = isset($properties[self::COMPONENTS]) ? $properties[self::COMPONENTS]->getValue() : ['VEVENT', 'VTODO'];
        $this->run('INSERT INTO calendars (synctoken, components) VALUES (1, ?)', [implode(',', $components)]);
        $values = ['calendarid' => $this->pdo->lastInsertId(), 'principaluri' => $principalUri, 'uri' => $calendarUri]
            + $this->columns($properties)
            + ['transparent' => 0];
        $this->run(
            'INSERT INTO calendarinstances (' . implode(', ', array_keys($values)) . ')
             VALUES (' . implode(', ', array_fill(0, count($values), '?')) . ')',
            array_values($values),
        );
    }

    public function updateCalendar($calendarId, array $mutations): bool
    {
        $values = $this->columns($mutations);
        if (count($values) < count($mutations)) {
            return false;
        }
        $this->run(
            'UPDATE calendarinstances SET ' . implode(' = ?, ', array_keys($values)) . ' = ? WHERE id = ?',
            [...array_values($values), $calendarId[1]],
        );
        $this->record('calendar', $calendarId[0], '', Change::Modified);

        return true;
    }

    public function deleteCalendar($calendarId): void
    {
        [$calendar, $instance] = $calendarId;
        $access = (int) $this->run('SELECT access FROM calendarinstances WHERE id = ?', [$instance])->fetchColumn();
        $this->run('DELETE FROM calendarinstances WHERE id = ?', [$instance]);
        if ($access !== Access::Owner->value) {
            return;
        }
        foreach (['calendarobjects', 'calendarchanges', 'calendarinstances'] as $table) {
            $this->run("DELETE FROM $table WHERE calendarid = ?", [$calendar]);
        }
        $this->run('DELETE FROM calendars WHERE id = ?', [$calendar]);
    }

    public function getCalendarObjects($calendarId): array
    {
        return parent::getCalendarObjects(self::id($calendarId));
    }

    public function getCalendarObject($calendarId, $objectUri): ?array
    {
        return parent::getCalendarObject(self::id($calendarId), $objectUri);
    }

    public function createCalendarObject($calendarId, $objectUri, $calendarData): string
    {
        $values = ['calendardata' => $calendarData, 'calendarid' => self::id($calendarId), 'uri' => $objectUri]
            + $this->described($calendarData);
        $this->run(
            'INSERT INTO calendarobjects (' . implode(', ', array_keys($values)) . ')
             VALUES (' . implode(', ', array_fill(0, count($values), '?')) . ')',
            array_values($values),
            0,
        );
        $this->record('calendar', self::id($calendarId), $objectUri, Change::Added);

        return $this->altered ? '' : "\"{$values['etag']}\"";
    }

    public function updateCalendarObject($calendarId, $objectUri, $calendarData): string
    {
        $values = ['calendardata' => $calendarData] + $this->described($calendarData);
        $this->run(
            'UPDATE calendarobjects SET ' . implode(' = ?, ', array_keys($values)) . ' = ? WHERE calendarid = ? AND uri = ?',
            [...array_values($values), self::id($calendarId), $objectUri],
            0,
        );
        $this->record('calendar', self::id($calendarId), $objectUri, Change::Modified);

        return $this->altered ? '' : "\"{$values['etag']}\"";
    }

    public function deleteCalendarObject($calendarId, $objectUri): void
    {
        $this->run('DELETE FROM calendarobjects WHERE calendarid = ? AND uri = ?', [self::id($calendarId), $objectUri]);
        $this->record('calendar', self::id($calendarId), $objectUri, Change::Deleted);
    }

    public function calendarQuery($calendarId, array $filters): array
    {
        return parent::calendarQuery(self::id($calendarId), $filters);
    }

    /** @return array{int, array<string, Change>} */
    public function changesSince(int $calendar, ?int $token): array
    {
        return $this->changes('calendar', 'calendarobjects', $calendar, $token);
    }

    /** @param int|string|array{int, int} $calendarId */
    private static function id(int|string|array $calendarId): int
    {
        return (int) (is_array($calendarId) ? $calendarId[0] : $calendarId);
    }

    /** @return array<string, mixed> */
    private function columns(array $properties): array
    {
        $values = [];
        foreach ($this->propertyMap as $property => $column) {
            if (array_key_exists($property, $properties)) {
                $values[$column] = $properties[$property];
            }
        }
        if (isset($properties[self::TRANSPARENCY])) {
            $values['transparent'] = (int) ($properties[self::TRANSPARENCY]->getValue() === 'transparent');
        }

        return $values;
    }

    /** @return array<string, mixed> */
    private function described(string $calendarData): array
    {
        $extra = $this->getDenormalizedData($calendarData);

        return [
            'lastmodified' => time(),
            'etag' => $extra['etag'],
            'size' => $extra['size'],
            'componenttype' => $extra['componentType'],
            'firstoccurence' => $extra['firstOccurence'],
            'lastoccurence' => $extra['lastOccurence'],
            'uid' => (string) Reader::read($calendarData)->{$extra['componentType']}->UID,
        ];
    }
}
