<?php
/**
 * The sync token of a collection and what happened to it since.
 *
 * The contract: calendarchanges and addressbookchanges get a row for each
 * change, with the token before it; then the token grows by one. What clients
 * store is bound as a blob, which SQLite keeps apart from text.
 */
declare(strict_types=1);

namespace Standin\Dav;

trait ChangeLog
{
    /** @param string $kind 'calendar' or 'addressbook', with which the tables' names begin */
    private function record(string $kind, int $collection, string $uri, Change $change): void
    {
        $this->run(
            "INSERT INTO {$kind}changes (uri, synctoken, {$kind}id, operation)
             SELECT ?, synctoken, ?, ? FROM {$kind}s WHERE id = ?",
            [$uri, $collection, $change->value, $collection],
        );
        $this->run("UPDATE {$kind}s SET synctoken = synctoken + 1 WHERE id = ?", [$collection]);
    }

    /**
     * @return array{int, array<string, Change>} the present token, and the last change of each object;
     *                                           without a token to start from, every object as added
     */
    private function changes(string $kind, string $objects, int $collection, ?int $since): array
    {
        $token = (int) $this->run("SELECT synctoken FROM {$kind}s WHERE id = ?", [$collection])->fetchColumn();
        $rows = $since === null
            ? $this->run("SELECT uri, 1 FROM $objects WHERE {$kind}id = ?", [$collection])
            : $this->run(
                "SELECT uri, operation FROM {$kind}changes
                 WHERE {$kind}id = ? AND synctoken >= ? AND synctoken < ? ORDER BY synctoken",
                [$collection, $since, $token],
            );
        $changes = [];
        foreach ($rows->fetchAll(\PDO::FETCH_NUM) as [$uri, $operation]) {
            $changes[$uri] = Change::from((int) $operation);
        }
        unset($changes['']); // The collection's own properties.

        return [$token, $changes];
    }

    /**
     * @param list<mixed> $values
     * @param ?int        $blob   which of them is an object's data
     */
    private function run(string $sql, array $values, ?int $blob = null): \PDOStatement
    {
        $statement = $this->pdo->prepare($sql);
        foreach ($values as $number => $value) {
            $statement->bindValue($number + 1, $value, $number === $blob ? \PDO::PARAM_LOB : \PDO::PARAM_STR);
        }
        $statement->execute();

        return $statement;
    }
}
