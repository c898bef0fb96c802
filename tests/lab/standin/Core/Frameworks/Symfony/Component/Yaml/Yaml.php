<?php
/**
 * As much of symfony/yaml, which is among Baïkal's libraries, as others than
 * Baïkal use of it.
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
