<?php
/**
 * Finds classes by their names: the stand-in's own in Core/Frameworks, the
 * libraries in vendor. Baïkal's entry points load this same path.
 */
declare(strict_types=1);

spl_autoload_register(static function (string $class): void {
    foreach ([dirname(__DIR__) . '/Core/Frameworks/', __DIR__ . '/sabre/'] as $directory) {
        $file = $directory . str_replace('\\', '/', $class) . '.php';
        if (is_file($file)) {
            require $file;

            return;
        }
    }
});
