<?php
/**
 * The part of symfony/yaml, a library of Baïkal, that programs other than
 * Baïkal use.
 */
declare(strict_types=1);

namespace Symfony\Component\Yaml;

final class Yaml
{
    /** @return array<string, array<string, mixed>> */
    public static function parseFile(string $path): array
    {
        return \Standin\Yaml::parseFile($path);
    }
}
