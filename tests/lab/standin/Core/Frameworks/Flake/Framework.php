<?php
/** The contract: this class tells whether a request has a database. */
declare(strict_types=1);

namespace Flake;

final class Framework
{
    public static function isDBInitialized(): bool
    {
        return \Standin\Environment::$database !== null;
    }
}
